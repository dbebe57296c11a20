//! The wire format of protobuf (protobuf.dev, "Encoding"): fields one behind the other. OTLP and remote write are made of it.

/// Bytes that are no message, or one that ends too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire<'a> {
    /// A number of variable length.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes.
    Fixed32(u32),
    /// Text, bytes, a message.
    Bytes(&'a [u8]),
}

impl<'a> Wire<'a> {
    /// The bytes of text, bytes or a message; none for numbers.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Wire::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// The number; 0 for anything else.
    pub fn number(self) -> u64 {
        match self {
            Wire::Varint(n) | Wire::Fixed64(n) => n,
            Wire::Fixed32(n) => u64::from(n),
            Wire::Bytes(_) => 0,
        }
    }
}

/// The fields of a message, in order. Ends after the first that is broken.
pub struct Fields<'a> {
    buf: &'a [u8],
    failed: bool,
}

impl<'a> Fields<'a> {
    /// Of a whole message.
    pub fn new(buf: &'a [u8]) -> Fields<'a> {
        Fields { buf, failed: false }
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.buf.split_at_checked(len).ok_or(Broken)?;
        self.buf = rest;
        Ok(taken)
    }

    /// Most numbers are keys and lengths of one byte.
    #[inline]
    fn varint(&mut self) -> Result<u64, Broken> {
        match self.buf {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.buf = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Broken> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // The tenth byte holds one bit.
                return if shift == 63 && byte > 1 { Err(Broken) } else { Ok(value) };
            }
        }
        Err(Broken)
    }

    #[inline]
    fn field(&mut self) -> Result<(u32, Wire<'a>), Broken> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| Broken)?;
        let eight = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).map_err(|_| Broken);
        let four = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).map_err(|_| Broken);
        let value = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(eight(self.take(8)?)?),
            2 => {
                let len = self.varint()?;
                Wire::Bytes(self.take(usize::try_from(len).map_err(|_| Broken)?)?)
            }
            5 => Wire::Fixed32(four(self.take(4)?)?),
            // Groups were given up before this protocol began.
            _ => return Err(Broken),
        };
        if number == 0 { Err(Broken) } else { Ok((number, value)) }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>), Broken>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.buf.is_empty() || self.failed {
            return None;
        }
        let field = self.field();
        self.failed = field.is_err();
        Some(field)
    }
}

/// Appends a number of variable length.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field with such a number.
pub fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, value);
}

/// Appends a field of eight bytes.
pub fn put_fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a field of four bytes.
pub fn put_fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    put_varint(out, u64::from(field) << 3 | 5);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a field with bytes.
pub fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a field with a message that `write` writes.
pub fn put_message(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    put_varint(out, u64::from(field) << 3 | 2);
    let start = out.len();
    write(out);
    let mut length = Vec::with_capacity(10);
    put_varint(&mut length, (out.len() - start) as u64);
    out.splice(start..start, length);
}
