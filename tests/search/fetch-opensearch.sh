#!/bin/sh
# Puts the minimal distribution of OpenSearch into a directory, for the tests of tests/search/real.rs: needs mvn, java and
# python3. Usage: tests/search/fetch-opensearch.sh DIRECTORY, then SUIRO_SERVERS=DIRECTORY cargo test ...
set -eu
version=2.19.1
directory=${1:?a directory}
mkdir -p "$directory"
[ -d "$directory/opensearch-$version" ] && exit 0
mvn -q -B dependency:copy "-Dartifact=org.opensearch.distribution.integ-test-zip:opensearch:$version:zip" \
    "-DoutputDirectory=$directory/dist"
(cd "$directory" && python3 -m zipfile -e "dist/opensearch-$version.zip" . && rm -r dist)
chmod +x "$directory/opensearch-$version"/bin/*
chmod -R a+rX "$directory/opensearch-$version"
