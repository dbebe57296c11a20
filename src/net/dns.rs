//! Questions to name servers that the system's resolver does not answer: SRV records (RFC 2782), and addresses at a server of
//! one's own choice. Messages are those of RFC 1035: over UDP, over TCP where the answer does not fit.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Where the system lists its name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Port of name servers.
const DNS_PORT: u16 = 53;
/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often each server is asked.
const ATTEMPTS: usize = 2;
/// Most name servers that are asked.
const MAX_SERVERS: usize = 8;
/// Largest answer, in bytes: what a length of two bytes can say.
const MAX_ANSWER_BYTES: usize = 65_535;
/// Longest name, in bytes.
const MAX_NAME_BYTES: usize = 255;
/// Longest part of a name, in bytes.
const MAX_LABEL_BYTES: usize = 63;
/// Pointers that one name may go through.
const MAX_POINTERS: usize = 16;
/// Records of one answer that are kept.
const MAX_RECORDS: usize = 1_024;
/// Length of a message's head, in bytes.
const HEAD_BYTES: usize = 12;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const TYPE_SRV: u16 = 33;
const CLASS_IN: u16 = 1;

/// A service at a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Lower is asked first.
    pub priority: u16,
    /// Its share among those of the same priority.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// Its host's name.
    pub target: String,
}

/// Name servers to ask, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameServers(Vec<SocketAddr>);

impl NameServers {
    /// One server, as `host` or `host:port`; without one, those of the system.
    ///
    /// Errors: a host that has no address.
    pub async fn new(own: Option<&str>) -> io::Result<NameServers> {
        let Some(own) = own else {
            // A few lines; without the file there is the server on this host.
            let text = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
            return Ok(NameServers(listed(&text)));
        };
        let (host, port) = match own.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => match port.parse() {
                Ok(port) => (host, port),
                Err(_) => return Err(io::Error::other(format!("{own:?} is no host:port"))),
            },
            _ => (own, DNS_PORT),
        };
        let found = tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await?;
        Ok(NameServers(found.take(MAX_SERVERS).collect()))
    }

    /// The services of a name such as `_fluentd._tcp.example.com`, by priority.
    ///
    /// Errors: no server answers, or the answer is no answer.
    pub async fn services(&self, name: &str) -> io::Result<Vec<Service>> {
        let records = self.ask(name, TYPE_SRV).await?;
        let mut services: Vec<Service> = records.into_iter().filter_map(Record::service).collect();
        services.sort_by_key(|s| s.priority);
        Ok(services)
    }

    /// The first address of a host.
    ///
    /// Errors: as [`services`](NameServers::services), and a host without an address.
    pub async fn address(&self, host: &str) -> io::Result<IpAddr> {
        for kind in [TYPE_A, TYPE_AAAA] {
            let records = self.ask(host, kind).await?;
            if let Some(address) = records.into_iter().find_map(Record::address) {
                return Ok(address);
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, format!("{host:?} has no address")))
    }

    async fn ask(&self, name: &str, kind: u16) -> io::Result<Vec<Record>> {
        let mut error = io::Error::other("there is no name server");
        for server in std::iter::repeat_n(&self.0, ATTEMPTS).flatten() {
            match timeout(ANSWER_TIMEOUT, exchange(*server, name, kind)).await {
                Ok(Ok(records)) => return Ok(records),
                Ok(Err(e)) => error = io::Error::new(e.kind(), format!("{server}: {e}")),
                Err(_) => error = io::Error::new(io::ErrorKind::TimedOut, format!("{server} does not answer")),
            }
        }
        Err(error)
    }
}

fn listed(text: &str) -> Vec<SocketAddr> {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = words.filter(|words| words.first() == Some(&"nameserver"));
    let addresses = found.filter_map(|words| words.get(1)?.parse::<IpAddr>().ok());
    let mut servers: Vec<SocketAddr> = addresses.take(MAX_SERVERS).map(|ip| SocketAddr::new(ip, DNS_PORT)).collect();
    if servers.is_empty() {
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), DNS_PORT));
    }
    servers
}

async fn exchange(server: SocketAddr, name: &str, kind: u16) -> io::Result<Vec<Record>> {
    let id = (getrandom::u32().map_err(io::Error::other)? & 0xffff) as u16;
    let question = question(id, name, kind)?;
    let local: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((local, 0)).await?;
    socket.connect(server).await?;
    socket.send(&question).await?;
    let mut answer = vec![0; MAX_ANSWER_BYTES];
    loop {
        let size = socket.recv(&mut answer).await?;
        match Reader::new(&answer[..size]).answer(&question, kind) {
            Ok(Answer::Records(records)) => return Ok(records),
            Ok(Answer::Cut) => return over_tcp(server, &question, kind).await,
            // Not the answer to this question: somebody guesses, or it comes late.
            Ok(Answer::Foreign) => {}
            Err(e) => return Err(e),
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8], kind: u16) -> io::Result<Vec<Record>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    match Reader::new(&answer).answer(question, kind)? {
        Answer::Records(records) => Ok(records),
        _ => Err(odd("an answer over TCP is cut off or to another question")),
    }
}

fn odd(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// A message with one question, recursion desired.
fn question(id: u16, name: &str, kind: u16) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(HEAD_BYTES + name.len() + 6);
    for word in [id, 0x0100, 1, 0, 0, 0] {
        out.extend(word.to_be_bytes());
    }
    let name = name.trim_end_matches('.');
    if name.len() >= MAX_NAME_BYTES {
        return Err(odd("the name is too long"));
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|n| (1..=MAX_LABEL_BYTES).contains(&usize::from(*n)));
        out.push(length.ok_or_else(|| odd("a part of the name is empty or too long"))?);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out.extend(kind.to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
    Ok(out)
}

enum Answer {
    Records(Vec<Record>),
    /// It did not fit.
    Cut,
    /// It is none to this question.
    Foreign,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Record {
    Service(Service),
    Address(IpAddr),
}

impl Record {
    fn service(self) -> Option<Service> {
        match self {
            Record::Service(service) => Some(service),
            Record::Address(_) => None,
        }
    }

    fn address(self) -> Option<IpAddr> {
        match self {
            Record::Address(address) => Some(address),
            Record::Service(_) => None,
        }
    }
}

/// Reads a message; never past its end.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(message: &'a [u8]) -> Reader<'a> {
        Reader { message, at: 0 }
    }

    fn take(&mut self, size: usize) -> io::Result<&'a [u8]> {
        let end = self.at.checked_add(size).filter(|end| *end <= self.message.len());
        let end = end.ok_or_else(|| odd("the answer ends too early"))?;
        let bytes = &self.message[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn u8(&mut self) -> io::Result<u8> {
        self.take(1).map(|b| b[0])
    }

    fn u16(&mut self) -> io::Result<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    /// The records of the wanted kind.
    fn answer(mut self, question: &[u8], kind: u16) -> io::Result<Answer> {
        let (id, flags, questions, answers) = (self.u16()?, self.u16()?, self.u16()?, self.u16()?);
        self.take(4)?;
        // The question comes back word for word; servers may change the case of letters.
        let same = self.message.get(HEAD_BYTES..question.len());
        let asked = same.is_some_and(|same| same.eq_ignore_ascii_case(&question[HEAD_BYTES..]));
        if flags & 0x8000 == 0 || id.to_be_bytes() != question[..2] || questions != 1 || !asked {
            return Ok(Answer::Foreign);
        }
        match flags & 0xf {
            // No such name means that nothing is there.
            0 | 3 => {}
            code => return Err(io::Error::other(format!("the name server answers with code {code}"))),
        }
        if flags & 0x0200 != 0 {
            return Ok(Answer::Cut);
        }
        self.at = question.len();
        let mut records = Vec::new();
        for _ in 0..answers {
            records.extend(self.record(kind)?);
            if records.len() >= MAX_RECORDS {
                break;
            }
        }
        Ok(Answer::Records(records))
    }

    fn record(&mut self, wanted: u16) -> io::Result<Option<Record>> {
        self.name()?;
        let (kind, class) = (self.u16()?, self.u16()?);
        self.take(4)?;
        let size = usize::from(self.u16()?);
        let start = self.at;
        let data = self.take(size)?;
        if kind != wanted || class != CLASS_IN {
            return Ok(None);
        }
        let record = match (kind, data) {
            (TYPE_A, &[a, b, c, d]) => Record::Address(Ipv4Addr::new(a, b, c, d).into()),
            (TYPE_AAAA, data) => {
                let bytes: [u8; 16] = data.try_into().map_err(|_| odd("an address has a wrong length"))?;
                Record::Address(Ipv6Addr::from(bytes).into())
            }
            (TYPE_SRV, _) => {
                let mut inner = Reader { message: self.message, at: start };
                let (priority, weight, port) = (inner.u16()?, inner.u16()?, inner.u16()?);
                Record::Service(Service { priority, weight, port, target: inner.name()? })
            }
            _ => return Err(odd("a record has a wrong length")),
        };
        Ok(Some(record))
    }

    /// A name, through pointers to what stands before; the reader goes on behind it.
    fn name(&mut self) -> io::Result<String> {
        let (mut name, mut behind, mut pointers) = (Vec::new(), None, 0);
        loop {
            let length = usize::from(self.u8()?);
            match length {
                0 => break,
                1..=MAX_LABEL_BYTES => {
                    if !name.is_empty() {
                        name.push(b'.');
                    }
                    name.extend(self.take(length)?);
                }
                _ if length >= 0xc0 => {
                    let to = (length & 0x3f) << 8 | usize::from(self.u8()?);
                    behind.get_or_insert(self.at);
                    pointers += 1;
                    if pointers > MAX_POINTERS {
                        return Err(odd("a name points in circles"));
                    }
                    self.at = to;
                }
                _ => return Err(odd("a name has an unknown form")),
            }
            if name.len() > MAX_NAME_BYTES {
                return Err(odd("a name is too long"));
            }
        }
        self.at = behind.unwrap_or(self.at);
        String::from_utf8(name).map_err(|_| odd("a name is no text"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// An answer to `question`: services with the target `h<port>.example`, whose end points back to the question's.
    fn answer(question: &[u8], services: &[(u16, u16, u16)]) -> Vec<u8> {
        let mut out = question.to_vec();
        out[2..4].copy_from_slice(&[0x81, 0x80]);
        out[6..8].copy_from_slice(&u16::try_from(services.len()).unwrap().to_be_bytes());
        for (priority, weight, port) in services {
            let host = format!("h{port}");
            let mut data: Vec<u8> = [priority, weight, port].into_iter().flat_map(|n| n.to_be_bytes()).collect();
            data.push(u8::try_from(host.len()).unwrap());
            data.extend(host.as_bytes());
            // `_s._tcp.example`: the last part begins behind two parts of 3 and 5 bytes.
            data.extend([0xc0, 12 + 3 + 5]);
            out.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 9]);
            out.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            out.extend(data);
        }
        out
    }

    /// Sockets of both kinds on one port. A port that is free over UDP may be taken over TCP, so several are tried.
    async fn both_sockets() -> (UdpSocket, tokio::net::TcpListener) {
        loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = tokio::net::TcpListener::bind(udp.local_addr().unwrap()).await {
                return (udp, tcp);
            }
        }
    }

    /// A name server for `_s._tcp.example` and addresses of hosts; the first answer over UDP is said not to fit where
    /// `cut` is set. Gives `host:port`.
    pub(crate) async fn server(services: Vec<(u16, u16, u16)>, cut: bool) -> String {
        let (udp, tcp) = both_sockets().await;
        let address = udp.local_addr().unwrap();
        let by_tcp = services.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut question).await.unwrap();
                let answer = answer(&question, &by_tcp);
                stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        });
        tokio::spawn(async move {
            let mut block = [0; 512];
            while let Ok((size, from)) = udp.recv_from(&mut block).await {
                let question = &block[..size];
                let kind = u16::from_be_bytes([question[size - 4], question[size - 3]]);
                let mut said = match kind {
                    TYPE_SRV => answer(question, if cut { &[] } else { &services }),
                    TYPE_A => {
                        let mut said = answer(question, &[]);
                        said[7] = 1;
                        said.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 127, 0, 0, 1]);
                        said
                    }
                    _ => answer(question, &[]),
                };
                if cut && kind == TYPE_SRV {
                    said[2] |= 2;
                }
                udp.send_to(&said, from).await.unwrap();
            }
        });
        address.to_string()
    }

    #[tokio::test]
    async fn services_come_by_priority_and_hosts_have_addresses() {
        for cut in [false, true] {
            let own = server(vec![(2, 10, 24225), (1, 20, 24224)], cut).await;
            let servers = NameServers::new(Some(&own)).await.unwrap();
            let got = servers.services("_s._tcp.example").await.unwrap();
            let shown: Vec<(u16, u16, &str)> = got.iter().map(|s| (s.weight, s.port, s.target.as_str())).collect();
            assert_eq!(shown, [(20, 24224, "h24224.example"), (10, 24225, "h24225.example")], "cut: {cut}");
            assert_eq!(servers.address("h1.example").await.unwrap(), IpAddr::from([127, 0, 0, 1]));
        }
    }

    #[test]
    fn the_systems_servers_are_read_and_there_is_always_one() {
        let text = "# x\nsearch a\nnameserver 192.0.2.1\nnameserver ::1\nnameserver nonsense\n";
        assert_eq!(listed(text), ["192.0.2.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert_eq!(listed("").len(), 1);
    }

    #[test]
    fn odd_names_are_refused() {
        for name in ["a..b", &"x".repeat(64), &"a.".repeat(200), ""] {
            assert!(question(1, name, TYPE_SRV).is_err(), "{name}");
        }
    }

    #[test]
    fn answers_to_others_are_passed_over_and_circles_end() {
        let asked = question(7, "_s._tcp.example", TYPE_SRV).unwrap();
        let other = question(8, "_s._tcp.example", TYPE_SRV).unwrap();
        let read = |message: &[u8]| Reader::new(message).answer(&asked, TYPE_SRV);
        assert!(matches!(read(&answer(&other, &[])), Ok(Answer::Foreign)));
        let mut circle = answer(&asked, &[(1, 1, 1)]);
        let end = circle.len();
        circle[end - 2..].copy_from_slice(&[0xc0 | ((end - 2) >> 8) as u8, (end - 2) as u8]);
        assert!(read(&circle).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_fault(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), whole in any::<bool>()) {
            let asked = question(7, "_s._tcp.example", TYPE_SRV).unwrap();
            if whole {
                bytes = [answer(&asked, &[])[..].to_vec(), bytes].concat();
                bytes[7] = 9;
            }
            let _ = Reader::new(&bytes).answer(&asked, TYPE_SRV);
        }
    }
}
