//! As much MessagePack as the forward protocol needs, written anew so that suiro's own code is not judged by itself.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Nil,
    Bool(bool),
    Int(i64),
    /// A string or binary.
    Bytes(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    /// An extension or a float: kept as it came.
    Other(Vec<u8>),
}

impl Value {
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes().unwrap_or_default()).into_owned()
    }

    pub fn array(&self) -> &[Value] {
        match self {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    /// The value under a key of a map.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Value::Map(pairs) = self else { return None };
        pairs.iter().find(|(k, _)| k.bytes() == Some(key.as_bytes())).map(|(_, value)| value)
    }
}

/// The first value of `data` and its length; `None` while it is not whole.
pub fn read(data: &[u8]) -> Option<(Value, usize)> {
    let mut reader = Reader { data, at: 0 };
    let value = reader.value()?;
    Some((value, reader.at))
}

/// All whole values of `data`.
pub fn read_all(mut data: &[u8]) -> Vec<Value> {
    let mut values = Vec::new();
    while let Some((value, length)) = read(data) {
        values.push(value);
        data = &data[length..];
    }
    values
}

struct Reader<'d> {
    data: &'d [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let bytes = self.data.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(bytes)
    }

    fn number(&mut self, length: usize) -> Option<usize> {
        Some(self.take(length)?.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)))
    }

    fn value(&mut self) -> Option<Value> {
        let head = self.take(1)?[0];
        Some(match head {
            0x00..=0x7f => Value::Int(i64::from(head)),
            0x80..=0x8f => self.map(usize::from(head & 0xf))?,
            0x90..=0x9f => self.items(usize::from(head & 0xf))?,
            0xa0..=0xbf => self.raw(usize::from(head & 0x1f))?,
            0xc0 => Value::Nil,
            0xc2 | 0xc3 => Value::Bool(head == 0xc3),
            0xc4 | 0xd9 => self.sized(1)?,
            0xc5 | 0xda => self.sized(2)?,
            0xc6 | 0xdb => self.sized(4)?,
            0xc7 => self.extension(1)?,
            0xca => self.other(4)?,
            0xcb => self.other(8)?,
            0xcc..=0xcf => Value::Int(self.number(1 << (head - 0xcc))? as i64),
            0xd0..=0xd3 => self.other(1 << (head - 0xd0))?,
            0xd4..=0xd8 => self.other(1 + (1 << (head - 0xd4)))?,
            0xdc => self.counted(2, Reader::items)?,
            0xdd => self.counted(4, Reader::items)?,
            0xde => self.counted(2, Reader::map)?,
            0xdf => self.counted(4, Reader::map)?,
            0xe0..=0xff => Value::Int(i64::from(head as i8)),
            other => panic!("not used by the protocol: {other:#x}"),
        })
    }

    fn raw(&mut self, length: usize) -> Option<Value> {
        self.take(length).map(|bytes| Value::Bytes(bytes.to_vec()))
    }

    fn other(&mut self, length: usize) -> Option<Value> {
        self.take(length).map(|bytes| Value::Other(bytes.to_vec()))
    }

    fn sized(&mut self, width: usize) -> Option<Value> {
        let length = self.number(width)?;
        self.raw(length)
    }

    fn extension(&mut self, width: usize) -> Option<Value> {
        let length = self.number(width)?;
        self.other(length + 1)
    }

    fn counted(&mut self, width: usize, read: fn(&mut Self, usize) -> Option<Value>) -> Option<Value> {
        let count = self.number(width)?;
        read(self, count)
    }

    fn items(&mut self, count: usize) -> Option<Value> {
        (0..count).map(|_| self.value()).collect::<Option<_>>().map(Value::Array)
    }

    fn map(&mut self, count: usize) -> Option<Value> {
        (0..count).map(|_| Some((self.value()?, self.value()?))).collect::<Option<_>>().map(Value::Map)
    }
}

/// A string.
pub fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&[0xda][..], &length.to_be_bytes(), text.as_bytes()].concat()
}

/// A map of strings.
pub fn map(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = vec![0x80 | u8::try_from(pairs.len()).unwrap()];
    pairs.iter().for_each(|(key, value)| bytes.extend([text(key), text(value)].concat()));
    bytes
}

/// A PackedForward message with an event for each id, under a chunk id.
pub fn packed(tag: &str, ids: &[String], chunk: &str) -> Vec<u8> {
    let entry = |id: &String| [&[0x92, 0xce][..], &1_700_000_000_u32.to_be_bytes(), &map(&[("id", id)])].concat();
    let entries: Vec<u8> = ids.iter().flat_map(entry).collect();
    let length = u32::try_from(entries.len()).unwrap();
    [vec![0x93], text(tag), vec![0xc6], length.to_be_bytes().to_vec(), entries, map(&[("chunk", chunk)])].concat()
}

#[test]
fn a_message_is_read_back_and_a_torn_one_is_not_whole() {
    let message = packed("app.test", &["a".into(), "b".into()], "chunk-1");
    let (value, length) = read(&message).unwrap();
    assert_eq!(length, message.len());
    assert_eq!(value.array()[0].text(), "app.test");
    assert_eq!(value.array()[2].get("chunk").unwrap().text(), "chunk-1");
    let entries = read_all(value.array()[1].bytes().unwrap());
    assert_eq!(entries.iter().map(|e| e.array()[1].get("id").unwrap().text()).collect::<Vec<_>>(), ["a", "b"]);
    assert!((0..message.len()).all(|cut| read(&message[..cut]).is_none()));
}
