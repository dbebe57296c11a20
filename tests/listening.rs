//! A server of a test: a port, a thread for each connection, and an end with its owner.
#![allow(clippy::unwrap_used)]

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Takes connections until it is dropped.
pub struct Listening {
    port: u16,
    ended: Arc<AtomicBool>,
}

impl Listening {
    /// Serves each connection to a port in a thread, which ends with its connection. What fails there is what the test asked
    /// for.
    pub fn start<T>(port: u16, serve: impl Fn(TcpStream) -> T + Send + Sync + 'static) -> Listening {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let (ended, serve) = (Arc::new(AtomicBool::new(false)), Arc::new(serve));
        let over = ended.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(SeqCst) {
                    return;
                }
                let (serve, stream) = (serve.clone(), stream.unwrap());
                std::thread::spawn(move || drop(serve(stream)));
            }
        });
        Listening { port, ended }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.ended.store(true, SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
