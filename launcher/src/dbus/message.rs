//! Messages of the D-Bus protocol (D-Bus specification, "Message Protocol"), as far as a caller of methods needs them.
//!
//! Written in the byte order of little-endian machines; read in either. What is read is bounded and never trusted: every
//! length is checked against what is there.

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A method is called.
    Call,
    /// What a method returned.
    Return,
    /// That a call failed.
    Error,
    /// A signal.
    Signal,
}

/// Puts values one behind the other, each at a multiple of its own size.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// What was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    /// `y`.
    pub fn byte(&mut self, value: u8) -> &mut Writer {
        self.bytes.push(value);
        self
    }

    /// `b`.
    pub fn boolean(&mut self, value: bool) -> &mut Writer {
        self.number(u32::from(value))
    }

    /// `u`.
    pub fn number(&mut self, value: u32) -> &mut Writer {
        self.align(4);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// `t`.
    pub fn long_number(&mut self, value: u64) -> &mut Writer {
        self.align(8);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// `s` or `o`.
    pub fn text(&mut self, value: &str) -> &mut Writer {
        self.number(length(value.len()));
        self.bytes.extend(value.bytes());
        self.byte(0)
    }

    /// `g`; 255 bytes at most.
    pub fn signature(&mut self, value: &str) -> &mut Writer {
        self.byte(u8::try_from(value.len()).unwrap_or(u8::MAX));
        self.bytes.extend(value.bytes().take(usize::from(u8::MAX)));
        self.byte(0)
    }

    /// `v`: a value of type `signature`, which `value` writes.
    pub fn variant(&mut self, signature: &str, value: impl FnOnce(&mut Writer)) -> &mut Writer {
        self.signature(signature);
        value(self);
        self
    }

    /// `(…)` or `{…}`, whose members `members` writes.
    pub fn structure(&mut self, members: impl FnOnce(&mut Writer)) -> &mut Writer {
        self.align(8);
        members(self);
        self
    }

    /// `a…`: `elements` writes all of them, each of which begins at a multiple of `alignment`.
    pub fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Writer)) -> &mut Writer {
        self.number(0);
        let at = self.bytes.len() - 4;
        self.align(alignment);
        let begin = self.bytes.len();
        elements(self);
        let size = length(self.bytes.len() - begin);
        self.bytes[at..at + 4].copy_from_slice(&size.to_le_bytes());
        self
    }
}

fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A call of a method.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The bus name of who is asked.
    pub destination: &'a str,
    /// The object.
    pub path: &'a str,
    /// The interface.
    pub interface: &'a str,
    /// The method.
    pub method: &'a str,
    /// The types of the arguments.
    pub signature: &'a str,
    /// The arguments.
    pub body: &'a [u8],
}

impl Call<'_> {
    /// The message, with this serial number.
    pub fn message(&self, serial: u32) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.byte(b'l').byte(1).byte(0).byte(1).number(length(self.body.len())).number(serial);
        writer.array(8, |fields| {
            let mut field = |code: u8, signature: &str, value: &str| {
                fields.structure(|field| {
                    field.byte(code).variant(signature, |writer| {
                        match signature {
                            "g" => writer.signature(value),
                            _ => writer.text(value),
                        };
                    });
                });
            };
            field(1, "o", self.path);
            field(2, "s", self.interface);
            field(3, "s", self.method);
            field(6, "s", self.destination);
            if !self.signature.is_empty() {
                field(8, "g", self.signature);
            }
        });
        writer.align(8);
        writer.bytes.extend_from_slice(self.body);
        writer.bytes
    }
}

/// A message that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What it is.
    pub kind: Kind,
    /// Which call it answers.
    pub answers: Option<u32>,
    /// The name of the error, where it is one.
    pub error: Option<String>,
    /// Types of what is in the body.
    pub signature: String,
    body: Vec<u8>,
    is_big: bool,
}

/// Bytes of a message up to the length of its header fields.
pub const PREFIX: usize = 16;

/// The length of the message that begins with `prefix`; nothing where it is none, or longer than `most`.
pub fn whole_length(prefix: &[u8; PREFIX], most: usize) -> Option<usize> {
    let reader = Reader::of_message(prefix)?;
    let [body, fields] =
        [4, 12].map(|at| reader.number_at(at).and_then(|length| usize::try_from(length).ok()));
    let whole = PREFIX.checked_add(fields?)?.checked_next_multiple_of(8)?.checked_add(body?)?;
    (whole <= most).then_some(whole)
}

/// Reads a whole message; nothing where it is not one.
pub fn read(bytes: &[u8]) -> Option<Received> {
    let mut reader = Reader::of_message(bytes)?;
    let kind = match bytes.get(1)? {
        1 => Kind::Call,
        2 => Kind::Return,
        3 => Kind::Error,
        4 => Kind::Signal,
        _ => return None,
    };
    reader.at = 12;
    let end = usize::try_from(reader.number()?).ok()?.checked_add(PREFIX)?;
    let (mut answers, mut error, mut signature) = (None, None, String::new());
    while reader.at < end {
        reader.align(8);
        let code = reader.byte()?;
        match (code, reader.signature()?.as_str()) {
            (5, "u") => answers = Some(reader.number()?),
            (4, "s") => error = Some(reader.text()?),
            (8, "g") => signature = reader.signature()?,
            (_, "s" | "o") => drop(reader.text()?),
            (_, "u") => drop(reader.number()?),
            (_, "g") => drop(reader.signature()?),
            // All fields of the specification have one of these types.
            _ => return None,
        }
    }
    reader.align(8);
    let body = bytes.get(reader.at..)?.to_vec();
    Some(Received { kind, answers, error, signature, body, is_big: reader.is_big })
}

impl Received {
    /// The first value of the body, where that is a string or the path of an object.
    pub fn first_text(&self) -> Option<String> {
        let mut reader = Reader { bytes: &self.body, at: 0, is_big: self.is_big };
        self.signature.starts_with(['s', 'o']).then(|| reader.text())?
    }

    /// The first value of the body, where that is an array of bytes.
    pub fn first_bytes(&self) -> Option<Vec<u8>> {
        let mut reader = Reader { bytes: &self.body, at: 0, is_big: self.is_big };
        if !self.signature.starts_with("ay") {
            return None;
        }
        let length = usize::try_from(reader.number()?).ok()?;
        Some(reader.take(length)?.to_vec())
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    is_big: bool,
}

impl<'a> Reader<'a> {
    fn of_message(bytes: &'a [u8]) -> Option<Reader<'a>> {
        let is_big = match bytes.first()? {
            b'l' => false,
            b'B' => true,
            _ => return None,
        };
        // The version of the protocol.
        (*bytes.get(3)? == 1).then_some(Reader { bytes, at: 0, is_big })
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn number_at(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn number(&mut self) -> Option<u32> {
        self.align(4);
        let number = self.number_at(self.at)?;
        self.at += 4;
        Some(number)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.number()?).ok()?;
        self.text_of(length)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        self.text_of(length)
    }

    fn text_of(&mut self, length: usize) -> Option<String> {
        let text = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        (self.byte()? == 0).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn call() -> Vec<u8> {
        let mut body = Writer::default();
        body.text("name").array(8, |units| {
            units.structure(|unit| {
                unit.text("PIDs").variant("au", |value| {
                    value.array(4, |pids| {
                        pids.number(7);
                    });
                });
            });
        });
        let call = Call {
            destination: "org.example.Name",
            path: "/org/example",
            interface: "org.example.Interface",
            method: "Do",
            signature: "sa(sv)",
            body: body.bytes(),
        };
        call.message(3)
    }

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let message = call();
        let prefix = message[..PREFIX].try_into().unwrap();
        assert_eq!(whole_length(prefix, 1 << 16), Some(message.len()));
        assert_eq!(whole_length(prefix, message.len() - 1), None);
        let read = read(&message).unwrap();
        assert_eq!((read.kind, read.signature.as_str()), (Kind::Call, "sa(sv)"));
        assert_eq!(read.first_text().as_deref(), Some("name"));
    }

    #[test]
    fn numbers_stand_at_multiples_of_their_size() {
        let mut writer = Writer::default();
        writer.byte(1).long_number(2).boolean(true);
        assert_eq!(writer.bytes(), [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        // The padding before the first element does not count (specification, "Marshaling").
        let mut writer = Writer::default();
        writer.array(8, |array| {
            array.long_number(5);
        });
        assert_eq!(writer.bytes(), [8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(received) = read(&bytes) {
                let _ = (received.first_text(), received.first_bytes());
            }
        }

        #[test]
        fn a_damaged_message_is_read_or_refused(at in 0_usize..200, byte in any::<u8>(), cut in 0_usize..200) {
            let mut message = call();
            let at = at % message.len();
            message[at] = byte;
            message.truncate(message.len().saturating_sub(cut));
            if let Ok(prefix) = message.get(..PREFIX).unwrap_or_default().try_into() {
                let _ = whole_length(prefix, 1 << 20);
            }
            if let Some(received) = read(&message) {
                let _ = (received.first_text(), received.first_bytes());
            }
        }
    }
}
