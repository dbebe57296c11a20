//! A second look at request heads, for what hyper is lenient about: lines that end without a carriage return, and more
//! than one statement of the body's length (RFC 9112 sections 2.2 and 6.3). Two servers in a row that read such a head
//! differently can be made to see different requests.

/// Longest header name that matters here.
const NAME_BYTES: usize = 17;

/// Walks over the bytes of one head as they arrive.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    name: [u8; NAME_BYTES],
    /// Bytes of the current line so far; the name is complete once `named` is set.
    line: usize,
    named: bool,
    after_cr: bool,
    lengths: u8,
    ambiguous: bool,
    done: bool,
}

impl HeadScan {
    /// Looks at the next bytes. Bytes behind the end of the head are not looked at.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.done {
                return;
            }
            self.byte(*byte);
        }
    }

    /// Whether the head can be read in two ways.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.ambiguous || self.lengths > 1
    }

    fn byte(&mut self, byte: u8) {
        if byte == b'\n' {
            self.ambiguous |= !self.after_cr;
            // The line holds the carriage return alone: the head ends. Empty lines before a request are allowed.
            self.done = self.named && self.line <= 1;
            self.line = 0;
        } else {
            self.name_byte(byte);
            self.line += 1;
        }
        self.after_cr = byte == b'\r';
    }

    fn name_byte(&mut self, byte: u8) {
        if byte == b':' && matches!(&self.name[..self.line.min(NAME_BYTES)], b"content-length" | b"transfer-encoding") {
            self.lengths = self.lengths.saturating_add(1);
        }
        if let Some(slot) = self.name.get_mut(self.line) {
            *slot = byte.to_ascii_lowercase();
        }
        self.named |= self.line >= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ambiguous(head: &str) -> bool {
        let whole = {
            let mut scan = HeadScan::default();
            scan.feed(head.as_bytes());
            scan.is_ambiguous()
        };
        let mut scan = HeadScan::default();
        head.as_bytes().iter().for_each(|b| scan.feed(&[*b]));
        assert_eq!(whole, scan.is_ambiguous(), "{head:?} in one piece and byte by byte");
        whole
    }

    #[test]
    fn heads_with_two_readings_are_told() {
        let post = "POST /a HTTP/1.1\r\nHost: x\r\n";
        assert!(ambiguous(&format!("{post}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")));
        assert!(ambiguous(&format!("{post}content-length: 1\r\nCONTENT-LENGTH: 1\r\n\r\n")));
        assert!(ambiguous(&format!("{post}X: y\nContent-Length: 1\r\n\r\n")));
    }

    #[test]
    fn plain_heads_and_bodies_are_left_alone() {
        assert!(!ambiguous("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\ncontent-length: 1\ntransfer-encoding: 2\n"));
        assert!(!ambiguous(
            "\r\nPOST / HTTP/1.1\r\nX-Content-Length: 9\r\nContent-Length: 0\r\nY: content-length: 3\r\n\r\n"
        ));
    }
}
