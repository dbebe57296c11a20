"""The collectors that are compared, each with the configuration of each workload that it can do.

A configuration is made by the functions `texts` of a collector: workload to text, in which {input}, {work}, {port} and {to}
are filled in. All write the same thing: what `benches/side-by-side/run.py` counts. None is tuned beyond what its manual
says about throughput.
"""

import os
import pathlib
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# ---- suiro, and Fluentd, which reads the same configurations ----

TAIL = """
<source>
  @type tail
  path {input}
  pos_file {work}/pos
  tag t
  read_from_head true
  <parse>
    %s
  </parse>
</source>
"""
MEMORY = """<buffer []>
    @type memory
    flush_mode interval
    flush_interval 0.2
    chunk_limit_size 8m
    overflow_action block
  </buffer>"""
DISK = """<buffer []>
    @type file
    path {work}/buffer
    flush_mode interval
    flush_interval 0.2
    chunk_limit_size 8m
    overflow_action block
  </buffer>"""
FILE = """
<match {t,t.**,bench.**}>
  @type file
  path {work}/out
  append true
  <format>
    @type json
  </format>
  %s
</match>
"""
NULL = """
<match {t,t.**,bench.**}>
  @type null
  %s
</match>
"""
FORWARD_IN = """
<source>
  @type forward
  bind 127.0.0.1
  port {port}
</source>
"""
HTTP_IN = """
<source>
  @type http
  bind 127.0.0.1
  port {port}
</source>
"""
SYSLOG_IN = """
<source>
  @type syslog
  bind 127.0.0.1
  port {port}
  tag t
  %s
  <parse>
    message_format rfc5424
  </parse>
</source>
"""
FILTERS = """
<filter **>
  @type grep
  <exclude>
    key level
    pattern /^debug$/
  </exclude>
</filter>
<filter **>
  @type record_transformer
  <record>
    cluster eu1
    env prod
  </record>
</filter>
"""
FORWARD_OUT = """
<match {t,t.**,bench.**}>
  @type forward
  require_ack_response true
  heartbeat_type none
  <server>
    host 127.0.0.1
    port {to}
  </server>
  <buffer tag>
    @type memory
    flush_mode interval
    flush_interval 0.1
    flush_thread_count 2
    chunk_limit_size 4m
    overflow_action block
  </buffer>
</match>
"""
TCP_OUT = """
<match t>
  @type tcp
  host 127.0.0.1
  port {to}
  <format>
    @type single_value
    add_newline false
  </format>
  %s
</match>
"""
HTTP_OUT = """
<match {t,t.**,bench.**}>
  @type http
  endpoint http://127.0.0.1:{to}/
  content_type application/x-ndjson
  <format>
    @type json
  </format>
  <buffer>
    @type memory
    flush_mode immediate
    flush_thread_count 4
    flush_thread_interval 0.01
    flush_thread_burst_interval 0.01
  </buffer>
</match>
"""
NGINX = (
    r'(?<remote>[^ ]*) (?<host>[^ ]*) (?<user>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>\S+)(?: +(?<path>[^\"]*?)(?: +\S*)?)?" '
    r'(?<code>[^ ]*) (?<size>[^ ]*)(?: "(?<referer>[^\"]*)" "(?<agent>[^\"]*)")?'
)


def fluentd_texts(buffer):
    """Configurations in Fluentd's language; `buffer` is MEMORY or DISK."""
    regexp = f"@type regexp\n    expression /^{NGINX}$/\n    time_format %d/%b/%Y:%H:%M:%S %z"
    return {
        "raw": TAIL % "@type none" + FILE % buffer,
        "tcp": TAIL % "@type none" + TCP_OUT % buffer,
        "json": TAIL % "@type json" + FILTERS + FILE % buffer,
        "regexp": TAIL % regexp + FILE % buffer,
        "nginx": TAIL % "@type nginx" + FILE % buffer,
        "http": HTTP_IN + NULL % "",
        "http-disk": HTTP_IN + NULL % buffer,
        "syslog": SYSLOG_IN % "<transport tcp>\n  </transport>" + FILE % buffer,
        "udp": SYSLOG_IN % "" + FILE % buffer,
        "forward": FORWARD_IN + NULL % (buffer if buffer is DISK else ""),
        "relay": FORWARD_IN + FORWARD_OUT,
        "latency": HTTP_IN + HTTP_OUT,
        "idle": TAIL % "@type none" + NULL % "",
    }


# ---- rsyslog ----

RSYSLOG = """
global(workDirectory="{work}" maxMessageSize="64k" parser.permitSlashInProgramName="on")
main_queue(queue.type="FixedArray" queue.size="100000" queue.dequeueBatchSize="4096" queue.workerThreads="2")
"""
RSYSLOG_TAIL = """
module(load="imfile")
input(type="imfile" File="{input}" Tag="t" freshStartTail="off" reopenOnTruncate="on" addMetadata="off")
"""
RSYSLOG_FILE = """action(type="omfile" file="{work}/out.log" template="%s" ioBufferSize="256k" asyncWriting="on" flushOnTXEnd="off" flushInterval="1")
"""
RSYSLOG_JSON = """template(name="message" type="list") {
  constant(value="{\\"message\\":\\"") property(name="msg" format="json") constant(value="\\"}\\n")
}
template(name="tree" type="string" string="%$!%\\n")
template(name="plain" type="string" string="%msg%\\n")
template(name="fields" type="list") {
  constant(value="{\\"host\\":\\"") property(name="hostname" format="json")
  constant(value="\\",\\"ident\\":\\"") property(name="app-name" format="json")
  constant(value="\\",\\"pid\\":\\"") property(name="procid" format="json")
  constant(value="\\",\\"msgid\\":\\"") property(name="msgid" format="json")
  constant(value="\\",\\"extradata\\":\\"") property(name="structured-data" format="json")
  constant(value="\\",\\"message\\":\\"") property(name="msg" format="json") constant(value="\\"}\\n")
}
"""
# liblognorm parses without regular expressions; it is rsyslog's way for such lines.
RULES = (
    "version=2\nrule=:%remote:word% %host:word% %user:word% [%time:char-to:]%] \"%method:word% %path:word% "
    "%protocol:char-to:\"%\" %code:word% %size:word% \"%referer:char-to:\"%\" \"%agent:char-to:\"%\"\n"
)


def rsyslog_texts():
    head = RSYSLOG + RSYSLOG_JSON
    tail = head + RSYSLOG_TAIL
    return {
        "raw": tail + RSYSLOG_FILE % "message",
        "tcp": tail + 'action(type="omfwd" target="127.0.0.1" port="{to}" protocol="tcp" template="plain")\n',
        "json": tail + 'module(load="mmjsonparse")\naction(type="mmjsonparse" cookie="")\n'
                'if $!level == "debug" then stop\nset $!cluster = "eu1";\nset $!env = "prod";\n' + RSYSLOG_FILE % "tree",
        "nginx": tail + 'module(load="mmnormalize")\naction(type="mmnormalize" rulebase="{work}/rules" useRawMsg="off")\n'
                 + RSYSLOG_FILE % "tree",
        "syslog": head + 'module(load="imptcp" threads="2")\ninput(type="imptcp" address="127.0.0.1" port="{port}")\n'
                  + RSYSLOG_FILE % "fields",
        "udp": head + 'module(load="imudp" threads="2" batchSize="128")\n'
               'input(type="imudp" address="127.0.0.1" port="{port}" rcvbufSize="8m")\n' + RSYSLOG_FILE % "fields",
        "idle": tail + 'action(type="omfile" file="{work}/out.log" template="message")\n',
    }


# ---- syslog-ng ----

NG = """@version: 3.38
options { threaded(yes); stats-freq(0); log-fifo-size(100000); log-msg-size(65536); flush-lines(1000); time-reopen(1);
  keep-hostname(yes); };
%s
destination out { %s };
log { source(in); %s destination(out); flags(flow-control); };
"""
NG_TAIL = 'source in { file("{input}" follow-freq(1) flags(no-parse) log-iw-size(20000) log-fetch-limit(1000)); };'
NG_FILE = 'file("{work}/out.log" template("%s\\n"));'
NG_NGINX = (
    r'^(?<n.remote>[^ ]*) (?<n.host>[^ ]*) (?<n.user>[^ ]*) \[(?<n.time>[^\]]*)\] "(?<n.method>\S+)(?: +(?<n.path>[^\"]*?)'
    r'(?: +\S*)?)?" (?<n.code>[^ ]*) (?<n.size>[^ ]*)(?: "(?<n.referer>[^\"]*)" "(?<n.agent>[^\"]*)")?$'
).replace("n.", "n_")


def syslog_ng_texts():
    message = NG_FILE % "$(format-json message=$MESSAGE)"
    everything = NG_FILE % (
        "$(format-json host=$HOST ident=$PROGRAM pid=$PID msgid=$MSGID extradata=$SDATA message=$MESSAGE)")
    stream = 'source in { network(ip("127.0.0.1") port({port}) transport("%s") flags(syslog-protocol) %s); };'
    return {
        "raw": NG % (NG_TAIL, message, ""),
        "tcp": NG % (NG_TAIL, 'network("127.0.0.1" port({to}) template("$MESSAGE\\n"));', ""),
        "json": NG % (NG_TAIL, NG_FILE % "$(format-json --key j.* --shift-levels 1 cluster=eu1 env=prod)",
                      'parser { json-parser(prefix("j.")); }; filter { not "${j.level}" eq "debug" };'),
        "regexp": NG % (NG_TAIL, NG_FILE % "$(format-json --key n_*)",
                        "filter { match('" + NG_NGINX + "' value(\"MESSAGE\") type(\"pcre\") flags(\"store-matches\")) };"),
        "syslog": NG % (stream % ("tcp", "max-connections(20) log-iw-size(100000) log-fetch-limit(1000)"), everything, ""),
        "udp": NG % (stream % ("udp", "so-rcvbuf(8388608) log-iw-size(100000) log-fetch-limit(1000)"), everything, ""),
        "idle": NG % (NG_TAIL.replace("file(\"{input}\"", "wildcard-file(base-dir(\"{directory}\") filename-pattern(\"*.log\") max-files(20000)")
                      .replace("log-iw-size(20000)", "log-iw-size(2000000)"), message, ""),
    }


# ---- those that are only there when a path is given; their configurations follow their manuals ----

FLUENT_BIT = """[SERVICE]
    flush 0.2
    log_level error
    parsers_file {work}/parsers
"""
FLUENT_BIT_TAIL = """[INPUT]
    name tail
    path {input}
    tag t
    read_from_head on
    buffer_chunk_size 512k
    buffer_max_size 4m
"""
FLUENT_BIT_FILE = """[OUTPUT]
    name file
    match *
    path {work}
    file out.log
    format plain
"""
FLUENT_BIT_FILTERS = """[FILTER]
    name grep
    match *
    exclude level ^debug$
[FILTER]
    name record_modifier
    match *
    record cluster eu1
    record env prod
"""
FLUENT_BIT_NULL = "[OUTPUT]\n    name null\n    match *\n"
FLUENT_BIT_PARSERS = f"""[PARSER]
    name json
    format json
[PARSER]
    name nginx
    format regex
    regex ^{NGINX}$
    time_key time
    time_format %d/%b/%Y:%H:%M:%S %z
[PARSER]
    name syslog
    format regex
    regex ^\\<(?<pri>[0-9]{{1,5}})\\>1 (?<time>[^ ]+) (?<host>[^ ]+) (?<ident>[^ ]+) (?<pid>[-0-9]+) (?<msgid>[^ ]+) (?<extradata>(\\[(.*?)\\]|-)) (?<message>.+)$
    time_key time
    time_format %Y-%m-%dT%H:%M:%S.%L%z
"""


def fluent_bit_texts():
    into = "[INPUT]\n    name %s\n    listen 127.0.0.1\n    port {port}\n"
    return {
        "raw": FLUENT_BIT + FLUENT_BIT_TAIL + FLUENT_BIT_FILE,
        "tcp": FLUENT_BIT + FLUENT_BIT_TAIL + "[OUTPUT]\n    name tcp\n    match *\n    host 127.0.0.1\n    port {to}\n"
               "    format json_lines\n",
        "json": FLUENT_BIT + FLUENT_BIT_TAIL + "    parser json\n" + FLUENT_BIT_FILTERS + FLUENT_BIT_FILE,
        "regexp": FLUENT_BIT + FLUENT_BIT_TAIL + "    parser nginx\n" + FLUENT_BIT_FILE,
        "http": FLUENT_BIT + into % "http" + FLUENT_BIT_NULL,
        "syslog": FLUENT_BIT + into % "syslog" + "    mode tcp\n    parser syslog\n" + FLUENT_BIT_FILE,
        "udp": FLUENT_BIT + into % "syslog" + "    mode udp\n    parser syslog\n" + FLUENT_BIT_FILE,
        "forward": FLUENT_BIT + into % "forward" + FLUENT_BIT_NULL,
        "relay": FLUENT_BIT + into % "forward" + "[OUTPUT]\n    name forward\n    match *\n    host 127.0.0.1\n"
                 "    port {to}\n    require_ack_response true\n",
        "latency": FLUENT_BIT.replace("0.2", "0.05") + into % "http" + "[OUTPUT]\n    name http\n    match *\n"
                   "    host 127.0.0.1\n    port {to}\n    format json_lines\n",
        "idle": FLUENT_BIT + FLUENT_BIT_TAIL + FLUENT_BIT_NULL,
    }


VECTOR_TAIL = 'data_dir = "{work}"\n[sources.in]\ntype = "file"\ninclude = ["{input}"]\nread_from = "beginning"\n'
VECTOR_FILE = '[sinks.out]\ntype = "file"\ninputs = ["%s"]\npath = "{work}/out.log"\nencoding.codec = "json"\n'
VECTOR_REMAP = "[transforms.t]\ntype = \"remap\"\ninputs = [\"in\"]\nsource = '''\n%s\n'''\ndrop_on_abort = true\n"
VECTOR_NULL = '[sinks.out]\ntype = "blackhole"\ninputs = ["in"]\nprint_interval_secs = 0\n'


def vector_texts():
    http = 'data_dir = "{work}"\n[sources.in]\ntype = "http_server"\naddress = "127.0.0.1:{port}"\nstrict_path = false\n' \
           'decoding.codec = "json"\n'
    syslog = 'data_dir = "{work}"\n[sources.in]\ntype = "syslog"\naddress = "127.0.0.1:{port}"\nmode = "%s"\n'
    return {
        "raw": VECTOR_TAIL + VECTOR_FILE % "in",
        "tcp": VECTOR_TAIL + '[sinks.out]\ntype = "socket"\ninputs = ["in"]\nmode = "tcp"\naddress = "127.0.0.1:{to}"\n'
               'encoding.codec = "text"\n',
        "json": VECTOR_TAIL + VECTOR_REMAP % '. = parse_json!(.message)\nif .level == "debug" { abort }\n'
                '.cluster = "eu1"\n.env = "prod"' + VECTOR_FILE % "t",
        "regexp": VECTOR_TAIL + VECTOR_REMAP % f". = parse_regex!(.message, r'^{NGINX.replace('(?<', '(?P<')}$')"
                  + VECTOR_FILE % "t",
        "http": http + VECTOR_NULL,
        "syslog": syslog % "tcp" + VECTOR_FILE % "in",
        "udp": syslog % "udp" + VECTOR_FILE % "in",
        "forward": 'data_dir = "{work}"\n[sources.in]\ntype = "fluent"\naddress = "127.0.0.1:{port}"\n' + VECTOR_NULL,
        "latency": http + '[sinks.out]\ntype = "http"\ninputs = ["in"]\nuri = "http://127.0.0.1:{to}/"\n'
                   'encoding.codec = "json"\nframing.method = "newline_delimited"\nbatch.timeout_secs = 0.02\n',
        "idle": VECTOR_TAIL + VECTOR_NULL,
    }


OTEL = """receivers:
  %s
exporters:
  nop: {}
service:
  telemetry: {metrics: {level: none}, logs: {level: error}}
  pipelines:
    logs: {receivers: [%s], exporters: [nop]}
"""


def otelcol_texts():
    """Its file exporter writes a line for each batch, not for each event, so only what ends in nothing can be compared."""
    return {
        "forward": OTEL % ('fluentforward: {endpoint: "127.0.0.1:{port}"}', "fluentforward"),
        "idle": OTEL % ('filelog: {include: ["{input}"], start_at: beginning}', "filelog"),
    }


# ---- how they are started ----

# No collector, but the least that one needs: reading, splitting, quoting, writing and syncing in one loop.
YARDSTICK = "one loop"

FLUENTD_RUN = ["-q", "-c", "{file}"]
RSYSLOG_RUN = ["-n", "-f", "{file}", "-i", "{work}/pid"]
NG_RUN = ["-F", "--no-caps", "-f", "{file}", "-R", "{work}/persist", "-p", "{work}/pid", "-c", "{work}/ctl"]


class Rival:
    """A collector: how it is found and started, and what it can do."""

    def __init__(self, name, program, arguments, texts, file="conf", extra=None, environment=None):
        self.name, self.program, self.arguments, self.texts = name, program, arguments, texts
        self.file, self.extra, self.environment = file, extra or {}, environment or {}

    def prepare(self, workload, work, values):
        """Writes the configuration; the command that runs it."""
        for name, text in ((self.file, self.texts[workload]), *self.extra.items()):
            for key, value in values.items():
                text = text.replace("{" + key + "}", str(value))
            (work / name).write_text(text)
        return [self.program, *(a.format(**{**values, "work": work, "file": work / self.file}) for a in self.arguments)]


def found(given, *names):
    """The program that was given, or the first that is installed."""
    if given:
        return given
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin"
    return next(filter(None, (shutil.which(name, path=path) for name in names)), None)


def built(given):
    """suiro and the load generator: what was given, or the release build. Ends where one is not there."""
    release = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    programs = [pathlib.Path(given.suiro or release / "suiro"), pathlib.Path(given.load or release / "examples" / "load")]
    for program in programs:
        if not program.exists():
            sys.exit(f"{program} is not there: cargo build --release && cargo build --release --example load")
    return programs


def all_rivals(options, suiro, tool):
    """The collectors that are there, suiro first, and the names of those that are not. `suiro`, `tool`: what `built` gives."""
    candidates = [
        Rival("suiro", suiro, FLUENTD_RUN, fluentd_texts(MEMORY)),
        Rival("suiro, on disk", suiro, FLUENTD_RUN, {
            name: text for name, text in fluentd_texts(DISK).items()
            if name in ("raw", "tcp", "json", "regexp", "nginx", "syslog", "forward", "http-disk")}),
        Rival(YARDSTICK, tool, ["copy", "file={input}", "out={work}/out.log", "stay=60"], {"raw": ""}),
        Rival("rsyslog", found(options.rsyslog, "rsyslogd"), RSYSLOG_RUN, rsyslog_texts(),
              extra={"rules": RULES}),
        Rival("syslog-ng", found(options.syslog_ng, "syslog-ng"),
              NG_RUN, syslog_ng_texts()),
        Rival("Fluentd", found(options.fluentd, "fluentd"), [*FLUENTD_RUN, "--no-supervisor"], {
            **{name: text for name, text in fluentd_texts(MEMORY).items() if name != "tcp"},
            "http-disk": fluentd_texts(DISK)["http-disk"]}),
        Rival("Fluent Bit", found(options.fluent_bit, "fluent-bit"), ["-q", "-c", "{file}"], fluent_bit_texts(),
              extra={"parsers": FLUENT_BIT_PARSERS}),
        Rival("Vector", found(options.vector, "vector"), ["-q", "-c", "{file}"], vector_texts(), file="conf.toml"),
        Rival("OTel Collector", found(options.otelcol, "otelcol-contrib", "otelcol"), ["--config", "{file}"],
              otelcol_texts(), file="conf.yaml"),
    ]
    candidates[0].texts.pop("http-disk")
    there = [r for r in candidates if r.program and pathlib.Path(r.program).exists()]
    return there, [r.name for r in candidates if r not in there]
