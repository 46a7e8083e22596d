//! The values in a control packet of the PulseAudio protocol: a letter for the type, then the value, big-endian.
//!
//! Every packet of an app's is read to its end before it is passed on, and anything that is no value of a known type
//! makes the whole packet malformed: the server reads what was understood here, and nothing else.

/// A value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A 32-bit number.
    Number(u32),
    /// A text without a zero byte, or none.
    Text(Option<&'a [u8]>),
    /// Bytes, with their length before them.
    Bytes(&'a [u8]),
    /// A list of properties, see [`entries`].
    Properties(&'a [u8]),
    /// Anything else: its meaning plays no part here.
    Other,
}

/// A value and the bytes that it was read from, with the letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    pub(crate) value: Value<'a>,
    pub(crate) raw: &'a [u8],
}

/// A packet that is no list of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Most values of a packet. The longest command has some forty.
const ITEMS_MOST: usize = 1024;
/// Most entries of a list of properties.
const ENTRIES_MOST: usize = 1024;

/// Reads a packet to its end.
pub(crate) fn read_all(mut bytes: &[u8]) -> Result<Vec<Item<'_>>, Malformed> {
    let mut items = Vec::new();
    while !bytes.is_empty() {
        if items.len() == ITEMS_MOST {
            return Err(Malformed);
        }
        items.push(read(&mut bytes)?);
    }
    Ok(items)
}

/// Reads the value at the beginning of `bytes`, and takes it off.
pub(crate) fn read<'a>(bytes: &mut &'a [u8]) -> Result<Item<'a>, Malformed> {
    let whole = *bytes;
    let letter = take(bytes, 1)?[0];
    let value = match letter {
        b'L' => Value::Number(number(bytes)?),
        b't' => Value::Text(Some(text(bytes)?)),
        b'N' => Value::Text(None),
        b'x' => {
            let length = number(bytes)? as usize;
            Value::Bytes(take(bytes, length)?)
        }
        b'P' => {
            let list = *bytes;
            while entry(bytes)?.is_some() {}
            Value::Properties(&list[..list.len() - bytes.len()])
        }
        // True, false; a format, whose parts follow as values of their own.
        b'1' | b'0' | b'f' => Value::Other,
        // A byte; a volume; seconds and microseconds; microseconds; numbers of 64 bits; format, channels and rate.
        b'B' => other(bytes, 1)?,
        b'V' => other(bytes, 4)?,
        b'T' | b'U' | b'R' | b'r' => other(bytes, 8)?,
        b'a' => other(bytes, 6)?,
        // A channel map, and the volumes of channels: how many first.
        b'm' => {
            let channels = take(bytes, 1)?[0];
            other(bytes, usize::from(channels))?
        }
        b'v' => {
            let channels = take(bytes, 1)?[0];
            other(bytes, 4 * usize::from(channels))?
        }
        _ => return Err(Malformed),
    };
    Ok(Item { value, raw: &whole[..whole.len() - bytes.len()] })
}

/// An entry of a list of properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) raw: &'a [u8],
}

/// The entries of a list that [`read`] found.
pub(crate) fn entries(mut list: &[u8]) -> Result<Vec<Entry<'_>>, Malformed> {
    let mut entries = Vec::new();
    while let Some(found) = entry(&mut list)? {
        if entries.len() == ENTRIES_MOST {
            return Err(Malformed);
        }
        entries.push(found);
    }
    Ok(entries)
}

/// The entry at the beginning: key, length, value of that length; or the end of the list, a text that is none.
fn entry<'a>(bytes: &mut &'a [u8]) -> Result<Option<Entry<'a>>, Malformed> {
    let whole = *bytes;
    let key = match take(bytes, 1)?[0] {
        b'N' => return Ok(None),
        b't' => text(bytes)?,
        _ => return Err(Malformed),
    };
    if take(bytes, 1)? != b"L" {
        return Err(Malformed);
    }
    let length = number(bytes)?;
    if take(bytes, 1)? != b"x" || number(bytes)? != length {
        return Err(Malformed);
    }
    take(bytes, length as usize)?;
    Ok(Some(Entry { key, raw: &whole[..whole.len() - bytes.len()] }))
}

fn other<'a>(bytes: &mut &[u8], count: usize) -> Result<Value<'a>, Malformed> {
    take(bytes, count)?;
    Ok(Value::Other)
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Malformed> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or(Malformed)?;
    *bytes = rest;
    Ok(taken)
}

fn number(bytes: &mut &[u8]) -> Result<u32, Malformed> {
    take(bytes, 4)?.try_into().map(u32::from_be_bytes).map_err(|_| Malformed)
}

fn text<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = bytes.iter().position(|byte| *byte == 0).ok_or(Malformed)?;
    let text = take(bytes, length)?;
    take(bytes, 1)?;
    Ok(text)
}

/// Puts a number at the end of a packet.
pub(crate) fn put_number(packet: &mut Vec<u8>, number: u32) {
    packet.push(b'L');
    packet.extend_from_slice(&number.to_be_bytes());
}

/// Puts bytes at the end of a packet.
pub(crate) fn put_bytes(packet: &mut Vec<u8>, bytes: &[u8]) {
    packet.push(b'x');
    packet.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    packet.extend_from_slice(bytes);
}
