//! The frames of the PulseAudio protocol: five numbers of 32 bits, big-endian, then so many bytes as the first says.
//!
//! ```text
//! length │ channel, or all ones for a control packet │ offset, high │ offset, low │ flags │ bytes…
//! ```

/// Size of the numbers before the bytes.
pub(crate) const HEADER: usize = 20;
/// The channel of control packets.
pub(crate) const CONTROL: u32 = u32::MAX;
/// Longest frame of audio data, in bytes, as the server itself has it.
const DATA_MOST: u32 = 16 << 20;
/// The bits of the flags that say where in the stream the data go; all others are about shared memory.
const SEEK: u32 = 0xff;

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) length: usize,
    pub(crate) channel: u32,
}

/// A frame that is not passed on, with all that comes after it: its connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused;

/// Reads a header; nothing where there are fewer bytes. `control_most` is the longest control packet.
pub(crate) fn header(bytes: &[u8], control_most: u32) -> Result<Option<Header>, Refused> {
    let Some(bytes) = bytes.get(..HEADER) else { return Ok(None) };
    let mut numbers =
        bytes.chunks_exact(4).map(|word| word.try_into().map(u32::from_be_bytes).unwrap_or_default());
    let mut next = || numbers.next().unwrap_or_default();
    let (length, channel, flags) = (next(), next(), {
        next();
        next();
        next()
    });
    let most = if channel == CONTROL { control_most } else { DATA_MOST };
    // Memory is never shared: it was negotiated away, so that a frame that speaks of it is no honest one.
    let allowed = if channel == CONTROL { 0 } else { SEEK };
    if length == 0 || length > most || flags & !allowed != 0 {
        return Err(Refused);
    }
    Ok(Some(Header { length: length as usize, channel }))
}

/// A frame with a control packet.
pub(crate) fn control(packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEADER + packet.len());
    for number in [packet.len() as u32, CONTROL, 0, 0, 0] {
        frame.extend_from_slice(&number.to_be_bytes());
    }
    frame.extend_from_slice(packet);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(numbers: [u32; 5]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    #[test]
    fn frames_are_bounded_and_share_no_memory() {
        let read = |numbers| header(&bytes(numbers), 4096);
        assert_eq!(read([4096, CONTROL, 0, 0, 0]), Ok(Some(Header { length: 4096, channel: CONTROL })));
        assert_eq!(read([16 << 20, 3, 9, 9, 1]), Ok(Some(Header { length: 16 << 20, channel: 3 })));
        for refused in [
            [0, CONTROL, 0, 0, 0],
            [4097, CONTROL, 0, 0, 0],
            [4, CONTROL, 0, 0, 1],
            [0, 3, 0, 0, 0],
            [(16 << 20) + 1, 3, 0, 0, 0],
            [u32::MAX, 3, 0, 0, 0],
            [4, 3, 0, 0, 0x8000_0000],
            [4, 3, 0, 0, 0xa000_0000],
            [4, 3, 0, 0, 0x4000_0000],
            [4, 3, 0, 0, 0x0080_0000],
            [4, CONTROL, 0, 0, 0x8000_0000],
        ] {
            assert_eq!(read(refused), Err(Refused), "{refused:x?}");
        }
        assert_eq!(header(&bytes([4, 3, 0, 0, 0])[..19], 4096), Ok(None));
    }
}
