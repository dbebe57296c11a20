//! A proxy before a server that cuts connections at chosen moments.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::free_port;
use crate::listening::Listening;

/// When a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// What the client sends with this text in it goes through, and the answer does not come back.
    Answer(&'static [u8]),
    /// As [`Answer`](Cut::Answer), but the client is left waiting until it goes away.
    Hang(&'static [u8]),
    /// Some bytes of what the client sends behind this text go through, then both ends are cut.
    Middle(&'static [u8]),
}

#[derive(Default)]
struct State {
    cuts: Mutex<Vec<Cut>>,
}

/// The proxy. It ends with its owner.
pub struct Cutter {
    pub port: u16,
    state: Arc<State>,
    _listening: Listening,
}

impl Cutter {
    pub fn before(server: u16) -> Cutter {
        let port = free_port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        let listening = Listening::start(port, move |client| serve(client, server, &shared));
        Cutter { port, state, _listening: listening }
    }

    /// What happens next, in turn.
    pub fn next(&self, cuts: &[Cut]) {
        *self.state.cuts.lock().unwrap() = cuts.iter().rev().copied().collect();
    }

    /// Whether all of [`next`](Self::next) has happened.
    pub fn is_done(&self) -> bool {
        self.state.cuts.lock().unwrap().is_empty()
    }
}

fn serve(mut client: TcpStream, server: u16, state: &State) -> io::Result<()> {
    let mut upstream = TcpStream::connect(("127.0.0.1", server))?;
    let silent = Arc::new(AtomicBool::new(false));
    let (mut answers, mut back, quiet) = (upstream.try_clone()?, client.try_clone()?, silent.clone());
    std::thread::spawn(move || -> io::Result<()> {
        let mut buf = vec![0; 64 * 1024];
        loop {
            let got = answers.read(&mut buf)?;
            if got == 0 || quiet.load(SeqCst) {
                // What comes now is the answer that is to be lost: the server has done its work.
                quiet.store(true, SeqCst);
                return if got == 0 { back.shutdown(Shutdown::Both) } else { Ok(()) };
            }
            back.write_all(&buf[..got])?;
        }
    });
    let mut buf = vec![0; 64 * 1024];
    loop {
        // The connection of a client that is killed may end with a reset; the server is to hear of that end too.
        let got = client.read(&mut buf).unwrap_or(0);
        if got == 0 {
            return upstream.shutdown(Shutdown::Both);
        }
        match due(&buf[..got], state) {
            None => upstream.write_all(&buf[..got])?,
            Some(Cut::Middle(text)) => {
                let at = find(&buf[..got], text).unwrap_or(0) + text.len();
                upstream.write_all(&buf[..at])?;
                std::thread::sleep(Duration::from_millis(50));
                let _ = upstream.shutdown(Shutdown::Both);
                return client.shutdown(Shutdown::Both);
            }
            Some(cut) => {
                silent.store(true, SeqCst);
                upstream.write_all(&buf[..got])?;
                // Long enough for the work that the text asks for.
                std::thread::sleep(Duration::from_millis(200));
                if let Cut::Hang(_) = cut {
                    let _ = client.read(&mut buf);
                }
                let _ = upstream.shutdown(Shutdown::Both);
                return client.shutdown(Shutdown::Both);
            }
        }
    }
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|w| w == text)
}

fn due(bytes: &[u8], state: &State) -> Option<Cut> {
    let mut cuts = state.cuts.lock().unwrap();
    let (Cut::Answer(text) | Cut::Hang(text) | Cut::Middle(text)) = cuts.last()?;
    find(bytes, text)?;
    cuts.pop()
}
