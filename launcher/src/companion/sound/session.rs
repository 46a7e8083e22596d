//! What is decided about each control packet of a connection, and what has to be remembered for it. Pure: no sockets.
//!
//! Every command of an app's has a tag, and the answer bears it. A tag may not be used again before its answer came, or
//! the answer to another command could be taken for a new stream's, and its numbers for those of the app's own.

use std::collections::{BTreeMap, BTreeSet};

use super::Rights;
use super::commands::{self, Allowed, number};
use super::frame::Refused;
use super::tags::{self, Item, Value};

/// The last version of the protocol that was looked at.
const VERSION: u32 = 35;
/// Earlier versions lay their commands out otherwise; nothing has spoken them since 2009.
const VERSION_LEAST: u32 = 13;
/// The version's own bits; those above say that memory can be shared.
const VERSION_BITS: u32 = 0xffff;
/// Error number of the protocol: access denied.
const ACCESS_DENIED: u32 = 1;
/// Error number of the protocol: the versions do not fit.
const WRONG_VERSION: u32 = 17;
/// Most commands that wait for their answers.
const WAITING_MOST: usize = 4096;
/// Most streams of a connection.
const STREAMS_MOST: usize = 256;
/// Length of the server's cookie.
pub(crate) const COOKIE: usize = 256;

/// Kinds of events that may be subscribed to, as bits: devices to play on, to record from, streams of both kinds, the
/// server. An event names its kind by the number of the bit.
const SINKS: u32 = 0;
const SOURCES: u32 = 1;
const PLAYBACK_STREAMS: u32 = 2;
const RECORD_STREAMS: u32 = 3;
const SERVER: u32 = 7;
/// The bits of an event that are its kind.
const KIND_BITS: u32 = 0xf;

/// What becomes of a packet of the app's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This goes to the server.
    Forward(Vec<u8>),
    /// This is answered, and the server hears nothing.
    Answer(Vec<u8>),
}

/// What an answer is awaited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Auth,
    Playback,
    Record,
    Other,
}

/// A connection's state.
pub(crate) struct Session {
    rights: Rights,
    cookie: [u8; COOKIE],
    authorised: bool,
    awaited: BTreeMap<u32, Awaited>,
    /// The app's streams: the connection's number of each, and the server's.
    playback: BTreeMap<u32, u32>,
    record: BTreeMap<u32, u32>,
}

impl Session {
    pub(crate) fn new(rights: Rights, cookie: [u8; COOKIE]) -> Session {
        Session {
            rights,
            cookie,
            authorised: false,
            awaited: BTreeMap::new(),
            playback: BTreeMap::new(),
            record: BTreeMap::new(),
        }
    }

    /// Whether audio data of the app's go to the server on this channel.
    pub(crate) fn plays_on(&self, channel: u32) -> bool {
        self.rights.play && self.playback.contains_key(&channel)
    }

    /// Whether audio data of the server's go to the app on this channel.
    pub(crate) fn records_on(&self, channel: u32) -> bool {
        self.rights.record && self.record.contains_key(&channel)
    }

    /// Decides about a packet of the app's.
    pub(crate) fn judge_app(&mut self, packet: &[u8]) -> Result<Verdict, Refused> {
        let items = tags::read_all(packet).map_err(|_| Refused)?;
        let [
            Item { value: Value::Number(command), .. },
            Item { value: Value::Number(tag), .. },
            arguments @ ..,
        ] = items.as_slice()
        else {
            return Err(Refused);
        };
        let (command, tag) = (*command, *tag);
        let is_auth = command == number::AUTH;
        if is_auth == self.authorised || tag == u32::MAX || self.awaited.contains_key(&tag) {
            return Err(Refused);
        }
        if is_auth {
            return self.auth(tag, arguments);
        }
        let first = match arguments.first() {
            Some(Item { value: Value::Number(first), .. }) => Some(*first),
            _ => None,
        };
        let passes = match commands::allowed(command, self.rights) {
            Allowed::EmptyList => return Ok(Verdict::Answer(answer(number::REPLY, tag, None))),
            Allowed::Never => false,
            Allowed::Always | Allowed::Playing | Allowed::Recording => true,
            Allowed::OwnPlayback => {
                first.is_some_and(|first| self.playback.values().any(|own| *own == first))
            }
            Allowed::OwnRecord => first.is_some_and(|first| self.record.values().any(|own| *own == first)),
        };
        let creates = matches!(command, number::CREATE_PLAYBACK_STREAM | number::CREATE_RECORD_STREAM);
        if !passes || creates && self.streams() >= STREAMS_MOST {
            return Ok(Verdict::Answer(answer(number::ERROR, tag, Some(ACCESS_DENIED))));
        }
        match (command, first) {
            (number::DELETE_PLAYBACK_STREAM, Some(channel)) => drop(self.playback.remove(&channel)),
            (number::DELETE_RECORD_STREAM, Some(channel)) => drop(self.record.remove(&channel)),
            _ => {}
        }
        let awaited = match command {
            number::CREATE_PLAYBACK_STREAM => Awaited::Playback,
            number::CREATE_RECORD_STREAM => Awaited::Record,
            _ => Awaited::Other,
        };
        self.wait_for(tag, awaited)?;
        let mut forwarded = Vec::with_capacity(packet.len());
        tags::put_number(&mut forwarded, command);
        tags::put_number(&mut forwarded, tag);
        match (command, first) {
            (number::SUBSCRIBE, Some(mask)) => {
                tags::put_number(&mut forwarded, mask & self.events());
            }
            (number::SUBSCRIBE, None) => return Err(Refused),
            _ => put_filtered(&mut forwarded, arguments)?,
        }
        Ok(Verdict::Forward(forwarded))
    }

    /// The greeting: the app's cookie is exchanged for the user's, and memory is not shared.
    fn auth(&mut self, tag: u32, arguments: &[Item<'_>]) -> Result<Verdict, Refused> {
        let [Item { value: Value::Number(version), .. }, Item { value: Value::Bytes(_), .. }] = arguments
        else {
            return Err(Refused);
        };
        let version = (version & VERSION_BITS).min(VERSION);
        if version < VERSION_LEAST {
            return Ok(Verdict::Answer(answer(number::ERROR, tag, Some(WRONG_VERSION))));
        }
        self.authorised = true;
        self.wait_for(tag, Awaited::Auth)?;
        let mut packet = Vec::new();
        tags::put_number(&mut packet, number::AUTH);
        tags::put_number(&mut packet, tag);
        tags::put_number(&mut packet, version);
        tags::put_bytes(&mut packet, &self.cookie);
        Ok(Verdict::Forward(packet))
    }

    fn wait_for(&mut self, tag: u32, awaited: Awaited) -> Result<(), Refused> {
        if self.awaited.len() >= WAITING_MOST {
            return Err(Refused);
        }
        self.awaited.insert(tag, awaited);
        Ok(())
    }

    /// The streams that there are, and that were asked for.
    fn streams(&self) -> usize {
        let asked =
            self.awaited.values().filter(|awaited| matches!(awaited, Awaited::Playback | Awaited::Record));
        self.playback.len() + self.record.len() + asked.count()
    }

    /// The kinds of events that the app may hear of, as bits.
    fn events(&self) -> u32 {
        let mut events = 1 << SERVER;
        if self.rights.play {
            events |= 1 << SINKS | 1 << PLAYBACK_STREAMS;
        }
        if self.rights.record {
            events |= 1 << SOURCES | 1 << RECORD_STREAMS;
        }
        events
    }

    /// Decides about a packet of the server's: what the app gets of it, if anything.
    pub(crate) fn judge_server(&mut self, packet: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
        let mut rest = packet;
        let mut next = || match tags::read(&mut rest) {
            Ok(Item { value: Value::Number(number), .. }) => Some(number),
            _ => None,
        };
        let (Some(command), Some(tag)) = (next(), next()) else { return Err(Refused) };
        if command == number::REPLY || command == number::ERROR {
            let Some(awaited) = self.awaited.remove(&tag) else { return Ok(None) };
            if command == number::ERROR {
                return Ok(Some(packet.to_vec()));
            }
            match awaited {
                Awaited::Other => {}
                Awaited::Auth => {
                    let version = next().ok_or(Refused)? & VERSION_BITS;
                    return Ok(Some(answer(number::REPLY, tag, Some(version.min(VERSION)))));
                }
                Awaited::Playback => {
                    let (channel, index) = next().zip(next()).ok_or(Refused)?;
                    self.playback.insert(channel, index);
                }
                Awaited::Record => {
                    let (channel, index) = next().zip(next()).ok_or(Refused)?;
                    self.record.insert(channel, index);
                }
            }
            return Ok(Some(packet.to_vec()));
        }
        match command {
            number::PLAYBACK_STREAM_KILLED => drop(next().map(|channel| self.playback.remove(&channel))),
            number::RECORD_STREAM_KILLED => drop(next().map(|channel| self.record.remove(&channel))),
            number::SUBSCRIBE_EVENT => {
                let (event, index) = next().zip(next()).ok_or(Refused)?;
                return Ok(self.may_hear(event, index).then(|| packet.to_vec()));
            }
            _ => {}
        }
        Ok(commands::may_be_told(command).then(|| packet.to_vec()))
    }

    /// Events of other programs' streams would tell when those begin and end.
    fn may_hear(&self, event: u32, index: u32) -> bool {
        let kind = event & KIND_BITS;
        let own = match kind {
            PLAYBACK_STREAMS => self.playback.values().any(|own| *own == index),
            RECORD_STREAMS => self.record.values().any(|own| *own == index),
            _ => true,
        };
        own && self.events() & 1 << kind != 0
    }
}

/// An answer of the companion's own.
fn answer(command: u32, tag: u32, number: Option<u32>) -> Vec<u8> {
    let mut packet = Vec::new();
    tags::put_number(&mut packet, command);
    tags::put_number(&mut packet, tag);
    if let Some(number) = number {
        tags::put_number(&mut packet, number);
    }
    packet
}

/// Puts the arguments of a command at the end of a packet, and of lists of properties what an app may set.
fn put_filtered(packet: &mut Vec<u8>, arguments: &[Item<'_>]) -> Result<(), Refused> {
    for item in arguments {
        let Value::Properties(list) = item.value else {
            packet.extend_from_slice(item.raw);
            continue;
        };
        packet.push(b'P');
        let mut seen = BTreeSet::new();
        for entry in tags::entries(list).map_err(|_| Refused)? {
            if commands::may_be_set(entry.key) && seen.insert(entry.key) {
                packet.extend_from_slice(entry.raw);
            }
        }
        packet.push(b'N');
    }
    Ok(())
}
