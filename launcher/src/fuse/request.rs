//! Parses what the kernel writes to /dev/fuse. Pure: bytes in, a request out.

/// Bytes that a read from /dev/fuse must have room for; the kernel asks for 8 KiB at least. No request for an image
/// that cannot be written to is longer than this.
pub const REQUEST_SIZE_MOST: usize = 16 << 10;

const HEADER_SIZE: usize = 40;

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The number that the answer has to bear.
    pub unique: u64,
    /// The node that it is about; 1 is the root folder.
    pub node: u64,
    /// What is asked.
    pub operation: Operation<'a>,
}

/// What a request asks. Numbers are taken over unchecked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// The first request: which version and features?
    Initialise(Initialise),
    /// Which node has this name in the folder?
    LookUp {
        /// The name.
        name: &'a [u8],
    },
    /// The attributes of the node.
    Attributes,
    /// The target of the symbolic link.
    ReadLink,
    /// Bytes of the file.
    Read {
        /// First byte.
        offset: u64,
        /// Number of bytes.
        size: u32,
    },
    /// Entries of the folder.
    ReadFolder {
        /// Where to go on: 0, or what an entry gave.
        offset: u64,
        /// Most bytes of the answer.
        size: u32,
        /// Whether each entry comes with its node and attributes.
        with_nodes: bool,
    },
    /// Where is data, or a hole?
    Seek {
        /// Where to begin.
        offset: u64,
        /// SEEK_DATA or SEEK_HOLE.
        whence: u32,
    },
    /// The value of an extended attribute.
    GetAttribute {
        /// Its name.
        name: &'a [u8],
        /// Most bytes of the answer; 0 asks for the length.
        size: u32,
    },
    /// The names of all extended attributes.
    ListAttributes {
        /// Most bytes of the answer; 0 asks for the length.
        size: u32,
    },
    /// Numbers of the file system.
    Statistics,
    /// The kernel drops nodes. There is no answer.
    Forget,
    /// The connection ends.
    Destroy,
    /// Anything else.
    Other {
        /// The kernel's number.
        number: u32,
    },
}

/// The kernel's version and features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Initialise {
    /// Major version of the protocol.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// Most bytes that it will read ahead.
    pub max_readahead: u32,
    /// Features that it has, `FUSE_…`.
    pub flags: u64,
}

/// Why bytes are no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Not even a header is there, so nobody can be answered.
    #[error("a request is shorter than its header")]
    NoHeader,
    /// The header is there and the rest is cut short.
    #[error("a request is cut short")]
    Short {
        /// The number that the answer has to bear.
        unique: u64,
    },
}

impl<'a> Request<'a> {
    /// Parses the bytes of one request.
    ///
    /// # Errors
    /// [`RequestError`] where they are cut short.
    pub fn parse(bytes: &'a [u8]) -> Result<Request<'a>, RequestError> {
        let (header, body) = bytes.split_at_checked(HEADER_SIZE).ok_or(RequestError::NoHeader)?;
        let mut header = Body(header);
        // The length, which read(2) has told already.
        header.u32();
        let number = header.u32().ok_or(RequestError::NoHeader)?;
        let unique = header.u64().ok_or(RequestError::NoHeader)?;
        let node = header.u64().ok_or(RequestError::NoHeader)?;
        let operation = Operation::parse(number, Body(body)).ok_or(RequestError::Short { unique })?;
        Ok(Request { unique, node, operation })
    }
}

impl<'a> Operation<'a> {
    fn parse(number: u32, mut body: Body<'a>) -> Option<Operation<'a>> {
        Some(match number {
            1 => Operation::LookUp { name: body.name()? },
            2 | 42 => Operation::Forget,
            3 => Operation::Attributes,
            5 => Operation::ReadLink,
            15 => {
                let (offset, size) = body.read()?;
                Operation::Read { offset, size }
            }
            17 => Operation::Statistics,
            22 => {
                let size = body.u32()?;
                body.u32()?;
                Operation::GetAttribute { name: body.name()?, size }
            }
            23 => Operation::ListAttributes { size: body.u32()? },
            26 => Operation::Initialise(body.initialise()?),
            28 | 44 => {
                let (offset, size) = body.read()?;
                Operation::ReadFolder { offset, size, with_nodes: number == 44 }
            }
            38 => Operation::Destroy,
            46 => {
                body.u64()?;
                Operation::Seek { offset: body.u64()?, whence: body.u32()? }
            }
            _ => Operation::Other { number },
        })
    }
}

/// The part of a request behind its header.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    // The kernel writes numbers in the order of the machine.
    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_ne_bytes)
    }

    /// A name, up to the NUL that ends it.
    fn name(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == 0)?;
        Some(&self.0[..end])
    }

    /// `struct fuse_read_in`: offset and size.
    fn read(&mut self) -> Option<(u64, u32)> {
        self.u64()?;
        Some((self.u64()?, self.u32()?))
    }

    fn initialise(&mut self) -> Option<Initialise> {
        let (major, minor) = (self.u32()?, self.u32()?);
        let max_readahead = self.u32()?;
        let low = self.u32()?;
        // The upper half came with protocol 7.36.
        let high = self.u32().unwrap_or(0);
        Some(Initialise { major, minor, max_readahead, flags: u64::from(high) << 32 | u64::from(low) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(number: u32, body: &[&[u8]]) -> Vec<u8> {
        let mut bytes = [&0u32.to_ne_bytes()[..], &number.to_ne_bytes(), &7u64.to_ne_bytes()].concat();
        bytes.extend_from_slice(&99u64.to_ne_bytes());
        bytes.extend_from_slice(&[0; 16]);
        body.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }

    #[test]
    fn every_operation_is_parsed_and_cut_short_is_told() {
        let long = |number: u64| number.to_ne_bytes();
        let word = |number: u32| number.to_ne_bytes();
        let read = [&long(1)[..], &long(5), &word(6), &[0; 20]].concat();
        let cases: [(u32, Vec<u8>, usize, Operation<'_>); 12] = [
            (1, b"name\0".to_vec(), 5, Operation::LookUp { name: b"name" }),
            (2, vec![], 0, Operation::Forget),
            (42, vec![], 0, Operation::Forget),
            (3, vec![], 0, Operation::Attributes),
            (15, read.clone(), 20, Operation::Read { offset: 5, size: 6 }),
            (28, read.clone(), 20, Operation::ReadFolder { offset: 5, size: 6, with_nodes: false }),
            (44, read, 20, Operation::ReadFolder { offset: 5, size: 6, with_nodes: true }),
            (
                22,
                [&word(9)[..], &word(0), b"user.a\0"].concat(),
                15,
                Operation::GetAttribute { name: b"user.a", size: 9 },
            ),
            (23, [word(9), word(0)].concat(), 4, Operation::ListAttributes { size: 9 }),
            (
                26,
                [7, 31, 100, 1, 2].map(word).concat(),
                16,
                Operation::Initialise(Initialise {
                    major: 7,
                    minor: 31,
                    max_readahead: 100,
                    flags: 2 << 32 | 1,
                }),
            ),
            (
                46,
                [&long(1)[..], &long(5), &word(3), &word(0)].concat(),
                20,
                Operation::Seek { offset: 5, whence: 3 },
            ),
            (4, vec![], 0, Operation::Other { number: 4 }),
        ];
        for (number, body, needed, operation) in cases {
            let bytes = request(number, &[&body]);
            assert_eq!(Request::parse(&bytes), Ok(Request { unique: 7, node: 99, operation }));
            for cut in 0..40 {
                assert_eq!(Request::parse(&bytes[..cut]), Err(RequestError::NoHeader));
            }
            for cut in 40..40 + needed {
                assert_eq!(Request::parse(&bytes[..cut]), Err(RequestError::Short { unique: 7 }), "{number}");
            }
        }
    }
}
