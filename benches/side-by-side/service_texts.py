"""Configurations of the workloads of `services.py`, in the way of `rivals.py`.

What goes out is the same everywhere: JSON lines of a file, parsed, without those of level debug, with two fields more.
Batches are as large as a collector's manual advises for throughput, and nothing is compressed.
"""

from rivals import DISK, FILTERS, HTTP_IN, MEMORY, NG, NG_TAIL, RSYSLOG, RSYSLOG_FILE, RSYSLOG_JSON, RSYSLOG_TAIL, TAIL

# Documents of a bulk request of the others, and events of their other requests.
BULK = 2_000
# Events that the OTel Collector puts together, at most.
OTEL_BATCH = 8_192

# ---- suiro ----

OUT = """
<match t>
  %s
  %s
</match>
"""
JSON = "<format>\n    @type json\n  </format>"
SYSLOG = f"""@type remote_syslog
  host 127.0.0.1
  port {{to}}
  message_format rfc5424
  program bench
  {JSON}
  protocol """
TARGETS = {
    "kafka": f"@type kafka2\n  brokers {{service}}\n  default_topic {{name}}\n  {JSON}",
    "opensearch": "@type opensearch\n  hosts {service}\n  index_name {name}",
    "otlp-out": "@type opentelemetry\n  body_key msg\n  <http>\n    endpoint http://127.0.0.1:{to}\n  </http>",
    "otlp-grpc-out": "@type opentelemetry\n  body_key msg\n  <grpc>\n    endpoint 127.0.0.1:{to}\n  </grpc>",
    "loki": '@type loki\n  url http://127.0.0.1:{to}\n  extra_labels {"job":"bench"}\n  line_format json',
    "splunk": "@type splunk_hec\n  full_url http://127.0.0.1:{to}\n  hec_token bench\n  source bench",
    "http-out": f"@type http\n  endpoint http://127.0.0.1:{{to}}/\n  content_type application/x-ndjson\n  {JSON}",
    "syslog-out": SYSLOG + "tcp\n  framing octet_counting",
    "udp-out": SYSLOG + "udp",
}
# Where the collector says what it has counted.
COUNT = """<source>
  @type prometheus
  bind 127.0.0.1
  port {count}
</source>
"""
OTLP_IN = """
<source>
  @type opentelemetry
  tag t
  <%s>
    bind 127.0.0.1
    port {port}
  </%s>
</source>
""" + COUNT + """<match t>
  @type null
</match>
"""
KAFKA_IN = """
<source>
  @type kafka_group
  brokers {service}
  consumer_group {group}
  topics {name}
  add_prefix t
  %s
</source>
""" + COUNT + """<match t.**>
  %s
</match>
"""
# Chunks as large as users write them, cut by time where less comes.
S3 = """
<match bench.**>
  @type s3
  s3_bucket bench
  s3_endpoint http://{service}
  force_path_style true
  path {name}/
  aws_key_id test
  aws_sec_key testsecret
  store_as %s
  %s
</match>
"""
S3_BUFFER = DISK.replace("chunk_limit_size 8m", "chunk_limit_size 64m").replace("flush_interval 0.2", "flush_interval 2")
LINES_FILE = """@type file
  path {work}/out
  append true
  <format>
    @type single_value
  </format>
  """ + MEMORY


def of_suiro():
    tail = TAIL % "@type json" + FILTERS
    return {
        **{key: tail + OUT % (target, MEMORY) for key, target in TARGETS.items()},
        "otlp-in": OTLP_IN % ("http", "http"),
        "otlp-grpc-in": OTLP_IN % ("grpc", "grpc"),
        "s3-json": HTTP_IN + S3 % ("gzip", JSON + "\n  " + S3_BUFFER),
        "s3-parquet": HTTP_IN + S3 % ("parquet", S3_BUFFER),
        "kafka-in": KAFKA_IN % ("<parse>\n    @type none\n  </parse>", LINES_FILE),
        "kafka-in-json": KAFKA_IN % ("<parse>\n    @type json\n  </parse>", "@type null"),
    }


# ---- rsyslog ----

RSYSLOG_TREE = """template(name="whole" type="string" string="%$!%")
template(name="rfc5424" type="string" string="<%PRI%>1 %TIMESTAMP:::date-rfc3339% %HOSTNAME% bench - - - %$!%")
module(load="mmjsonparse")
action(type="mmjsonparse" cookie="")
if $!level == "debug" then stop
set $!cluster = "eu1";
set $!env = "prod";
"""
RSYSLOG_QUEUE = 'queue.type="FixedArray" queue.size="100000" queue.dequeueBatchSize="%d"'
RSYSLOG_TARGETS = {
    "kafka": 'module(load="omkafka")\naction(type="omkafka" broker=["{service}"] topic="{name}" template="whole" '
             'confParam=["queue.buffering.max.ms=100"] ' + RSYSLOG_QUEUE % 4096 + ")\n",
    "opensearch": 'module(load="omelasticsearch")\naction(type="omelasticsearch" server="{host}" '
                  'serverport="{server_port}" template="whole" searchIndex="{name}" searchType="" bulkmode="on" '
                  'maxbytes="8m" ' + RSYSLOG_QUEUE % BULK + ")\n",
    "syslog-out": 'action(type="omfwd" target="127.0.0.1" port="{to}" protocol="tcp" TCP_Framing="octet-counted" '
                  'template="rfc5424")\n',
    "udp-out": 'action(type="omfwd" target="127.0.0.1" port="{to}" protocol="udp" template="rfc5424")\n',
}
RSYSLOG_KAFKA_IN = """module(load="imkafka")
input(type="imkafka" broker=["{service}"] topic="{name}" consumergroup="{group}"
  confParam=["auto.offset.reset=earliest"])
""" + RSYSLOG_FILE % "plain"


def of_rsyslog():
    tail = RSYSLOG + RSYSLOG_JSON + RSYSLOG_TAIL + RSYSLOG_TREE
    return {
        **{key: tail + target for key, target in RSYSLOG_TARGETS.items()},
        "kafka-in": RSYSLOG + RSYSLOG_JSON + RSYSLOG_KAFKA_IN,
    }


# ---- syslog-ng 3.38; its fields are texts, numbers too ----

NG_JSON = "$(format-json --key j.* --shift-levels 1 cluster=eu1 env=prod)"
NG_FILTERS = 'parser { json-parser(prefix("j.")); }; filter { not "${j.level}" eq "debug" };'
# A text in quotes is what stands behind `{"l":` in an object.
NG_QUOTED = f'$(substr $(format-json l={NG_JSON}) 5 -1)'


def ng_http(path, kind, body, around):
    """An HTTP target; `around` is what stands before, between and behind the events of a request."""
    before, between, behind = around
    return (f'http(url("http://{path}") method("POST") headers("Content-Type: {kind}") body(\'{body}\') '
            f'body-prefix(\'{before}\') delimiter("{between}") body-suffix(\'{behind}\') '
            f"workers(2) batch-lines({BULK}) batch-timeout(1000));")


NG_TARGETS = {
    "kafka": 'kafka-c(bootstrap-servers("{service}") topic("{name}") message("' + NG_JSON + '"));',
    "opensearch": 'http(url("http://{service}/{name}/_bulk") method("POST") '
                  'headers("Content-Type: application/x-ndjson") body("{\\"index\\":{}}\\n' + NG_JSON + '\\n") delimiter("") '
                  f"workers(2) batch-lines({BULK}) batch-timeout(1000));",
    "loki": ng_http("127.0.0.1:{to}/loki/api/v1/push", "application/json", f'["$S_UNIXTIME${{S_USEC}}000",{NG_QUOTED}]',
                    ('{"streams":[{"stream":{"job":"bench"},"values":[', ",", "]}]}")),
    "splunk": ng_http("127.0.0.1:{to}/services/collector", "application/json",
                      '{"time":$S_UNIXTIME.$S_USEC,"host":"$HOST","source":"bench","event":' + NG_JSON + "}",
                      ("", "", "")),
    "http-out": ng_http("127.0.0.1:{to}/", "application/x-ndjson", NG_JSON, ("", "\\n", "")),
    "syslog-out": 'syslog("127.0.0.1" port({to}) transport("tcp") frac-digits(6) template("' + NG_JSON + '"));',
    "udp-out": 'syslog("127.0.0.1" port({to}) transport("udp") frac-digits(6) template("' + NG_JSON + '"));',
}
NG_NAME = 'rewrite { set("bench" value("PROGRAM")); };'


def of_syslog_ng():
    return {key: NG % (NG_TAIL, target, NG_FILTERS + (NG_NAME if key in ("syslog-out", "udp-out") else ""))
            for key, target in NG_TARGETS.items()}


# ---- OTel Collector ----

OTEL = """receivers:
  %s
exporters:
  %s
service:
  telemetry: {logs: {level: error}, metrics: %s}
  pipelines:
    logs: {receivers: [%s], exporters: [%s]}
"""
OTEL_TAIL = """filelog:
    include: ["{input}"]
    start_at: beginning
    include_file_name: false
    operators:
      - {type: json_parser, parse_to: %s, parse_ints: true}
      - {type: filter, expr: '%s.level == "debug"'}
%s      - {type: add, field: %s.cluster, value: eu1}
      - {type: add, field: %s.env, value: prod}
"""
OTEL_BODY = "      - {type: move, from: attributes.msg, to: body}\n"
OTEL_QUEUE = """sending_queue:
      block_on_overflow: true
      sizer: items
      queue_size: 100000
      batch: {sizer: items, min_size: %d, max_size: %d, flush_timeout: 200ms}
""" % (OTEL_BATCH, OTEL_BATCH)
OTEL_COUNT = """{level: basic, readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {count}}}}}]}"""
OTEL_TARGETS = {
    "otlp-out": ("otlphttp", "    endpoint: http://127.0.0.1:{to}\n    compression: none\n    "),
    "otlp-grpc-out": ("otlp", "    endpoint: 127.0.0.1:{to}\n    tls: {insecure: true}\n    compression: none\n    "),
}
OTEL_INPUTS = {
    "otlp-in": ("otlp", 'otlp: {protocols: {http: {endpoint: "127.0.0.1:{port}"}}}'),
    "otlp-grpc-in": ("otlp", 'otlp: {protocols: {grpc: {endpoint: "127.0.0.1:{port}"}}}'),
    "kafka-in-json": ("kafka", 'kafka: {brokers: ["{service}"], group_id: "{group}", initial_offset: earliest, '
                               'logs: {topics: ["{name}"], encoding: json}}'),
}


def of_otelcol():
    def tail(into, body):
        return OTEL_TAIL % (into, into, body, into, into)

    tailed = tail("attributes", OTEL_BODY)
    outs = {key: OTEL % (tailed, f"{name}:\n{options}{OTEL_QUEUE}", "{level: none}", "filelog", name)
            for key, (name, options) in OTEL_TARGETS.items()}
    ins = {key: OTEL % (text, "nop: {}", OTEL_COUNT, name, "nop") for key, (name, text) in OTEL_INPUTS.items()}
    kafka = ('kafka:\n    brokers: ["{service}"]\n    logs: {topic: "{name}", encoding: raw}\n'
             "    producer: {required_acks: -1}\n    " + OTEL_QUEUE)
    return {**outs, **ins, "kafka": OTEL % (tail("body", ""), kafka, "{level: none}", "filelog", "kafka")}


# ---- what is not there, and why ----

OTLP = ("otlp-out", "otlp-grpc-out", "otlp-in", "otlp-grpc-in")
LACKS = (
    ("rsyslog", OTLP, "has no OTLP"),
    ("rsyslog", ("loki", "splunk", "http-out"), "Debian's packages have no HTTP output but that for Elasticsearch"),
    ("rsyslog", ("kafka-in-json",), "measured with a file, above"),
    ("syslog-ng", OTLP, "3.38 has no OTLP"),
    ("syslog-ng", ("kafka-in", "kafka-in-json"), "3.38 has no Kafka source"),
    (None, ("s3-json", "s3-parquet"), "has no such output in what could be had here"),
    ("OTel Collector", ("loki",), "writes to Loki by OTLP, above"),
    ("OTel Collector", ("http-out",), "has no such exporter"),
    ("OTel Collector", ("splunk", "opensearch"), "its exporter could not be had here"),
    ("OTel Collector", ("syslog-out", "udp-out"), "makes no JSON text of a record on one line"),
    ("OTel Collector", ("kafka-in",), "its file exporter writes a line for each batch, not each message"),
)


def lack(collector, workload):
    """Why a collector is not in the table of a workload."""
    found = (why for name, workloads, why in LACKS if name in (None, collector) and workload in workloads)
    return next(found, "can't do it")
