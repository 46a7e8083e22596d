//! The commands of the PulseAudio protocol, and which an app may send: a list of what is allowed.
//!
//! Refused, by not being named: loading and unloading of modules, ending the server or its clients, extensions, cards
//! and ports, samples that stay in the server, moving streams, volume and default of devices, shared memory. Nobody
//! else's stream can be touched or looked at; what other programs there are is not told.

use super::Rights;

/// Numbers of commands that are looked into.
pub(crate) mod number {
    pub(crate) const ERROR: u32 = 0;
    pub(crate) const REPLY: u32 = 2;
    pub(crate) const CREATE_PLAYBACK_STREAM: u32 = 3;
    pub(crate) const DELETE_PLAYBACK_STREAM: u32 = 4;
    pub(crate) const CREATE_RECORD_STREAM: u32 = 5;
    pub(crate) const DELETE_RECORD_STREAM: u32 = 6;
    pub(crate) const AUTH: u32 = 8;
    pub(crate) const SUBSCRIBE: u32 = 35;
    pub(crate) const PLAYBACK_STREAM_KILLED: u32 = 64;
    pub(crate) const RECORD_STREAM_KILLED: u32 = 65;
    pub(crate) const SUBSCRIBE_EVENT: u32 = 66;
}

/// Who may send a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// Whoever has any right to sound.
    Always,
    /// Who may play.
    Playing,
    /// Who may record.
    Recording,
    /// Who may play, on a stream of its own: the first argument is the server's number of it.
    OwnPlayback,
    /// Who may record, on a stream of its own.
    OwnRecord,
    /// Nobody, but the answer is an empty list rather than an error: programs that look around go on.
    EmptyList,
    /// Nobody.
    Never,
}

/// The list.
const COMMANDS: &[(u32, Allowed)] = &[
    (number::CREATE_PLAYBACK_STREAM, Allowed::Playing),
    (number::DELETE_PLAYBACK_STREAM, Allowed::Playing),
    (number::CREATE_RECORD_STREAM, Allowed::Recording),
    (number::DELETE_RECORD_STREAM, Allowed::Recording),
    (9, Allowed::Always),       // SET_CLIENT_NAME
    (10, Allowed::Playing),     // LOOKUP_SINK
    (11, Allowed::Recording),   // LOOKUP_SOURCE
    (12, Allowed::Playing),     // DRAIN_PLAYBACK_STREAM
    (14, Allowed::Playing),     // GET_PLAYBACK_LATENCY
    (20, Allowed::Always),      // GET_SERVER_INFO
    (21, Allowed::Playing),     // GET_SINK_INFO
    (22, Allowed::Playing),     // GET_SINK_INFO_LIST
    (23, Allowed::Recording),   // GET_SOURCE_INFO
    (24, Allowed::Recording),   // GET_SOURCE_INFO_LIST
    (26, Allowed::EmptyList),   // GET_MODULE_INFO_LIST
    (28, Allowed::EmptyList),   // GET_CLIENT_INFO_LIST
    (29, Allowed::OwnPlayback), // GET_SINK_INPUT_INFO
    (30, Allowed::EmptyList),   // GET_SINK_INPUT_INFO_LIST
    (31, Allowed::OwnRecord),   // GET_SOURCE_OUTPUT_INFO
    (32, Allowed::EmptyList),   // GET_SOURCE_OUTPUT_INFO_LIST
    (34, Allowed::EmptyList),   // GET_SAMPLE_INFO_LIST
    (number::SUBSCRIBE, Allowed::Always),
    (37, Allowed::OwnPlayback), // SET_SINK_INPUT_VOLUME
    (41, Allowed::Playing),     // CORK_PLAYBACK_STREAM
    (42, Allowed::Playing),     // FLUSH_PLAYBACK_STREAM
    (43, Allowed::Playing),     // TRIGGER_PLAYBACK_STREAM
    (46, Allowed::Playing),     // SET_PLAYBACK_STREAM_NAME
    (47, Allowed::Recording),   // SET_RECORD_STREAM_NAME
    (49, Allowed::OwnPlayback), // KILL_SINK_INPUT
    (50, Allowed::OwnRecord),   // KILL_SOURCE_OUTPUT
    (57, Allowed::Recording),   // GET_RECORD_LATENCY
    (58, Allowed::Recording),   // CORK_RECORD_STREAM
    (59, Allowed::Recording),   // FLUSH_RECORD_STREAM
    (60, Allowed::Playing),     // PREBUF_PLAYBACK_STREAM
    (69, Allowed::OwnPlayback), // SET_SINK_INPUT_MUTE
    (72, Allowed::Playing),     // SET_PLAYBACK_STREAM_BUFFER_ATTR
    (73, Allowed::Recording),   // SET_RECORD_STREAM_BUFFER_ATTR
    (74, Allowed::Playing),     // UPDATE_PLAYBACK_STREAM_SAMPLE_RATE
    (75, Allowed::Recording),   // UPDATE_RECORD_STREAM_SAMPLE_RATE
    (80, Allowed::Recording),   // UPDATE_RECORD_STREAM_PROPLIST
    (81, Allowed::Playing),     // UPDATE_PLAYBACK_STREAM_PROPLIST
    (82, Allowed::Always),      // UPDATE_CLIENT_PROPLIST
    (83, Allowed::Recording),   // REMOVE_RECORD_STREAM_PROPLIST
    (84, Allowed::Playing),     // REMOVE_PLAYBACK_STREAM_PROPLIST
    (85, Allowed::Always),      // REMOVE_CLIENT_PROPLIST
    (89, Allowed::EmptyList),   // GET_CARD_INFO_LIST
    (98, Allowed::OwnRecord),   // SET_SOURCE_OUTPUT_VOLUME
    (99, Allowed::OwnRecord),   // SET_SOURCE_OUTPUT_MUTE
];

/// What the server may say by itself.
const FROM_SERVER: &[u32] = &[
    61, // REQUEST
    62, // OVERFLOW
    63, // UNDERFLOW
    number::PLAYBACK_STREAM_KILLED,
    number::RECORD_STREAM_KILLED,
    number::SUBSCRIBE_EVENT,
    76, // PLAYBACK_STREAM_SUSPENDED
    77, // RECORD_STREAM_SUSPENDED
    78, // PLAYBACK_STREAM_MOVED
    79, // RECORD_STREAM_MOVED
    86, // STARTED
    91, // CLIENT_EVENT
    92, // PLAYBACK_STREAM_EVENT
    93, // RECORD_STREAM_EVENT
    94, // PLAYBACK_BUFFER_ATTR_CHANGED
    95, // RECORD_BUFFER_ATTR_CHANGED
];

/// Who may send `command`, given what the app may do: [`Allowed::Never`] where the app may not.
pub(crate) fn allowed(command: u32, rights: Rights) -> Allowed {
    let found = COMMANDS.iter().find(|(number, _)| *number == command);
    match found.map_or(Allowed::Never, |(_, allowed)| *allowed) {
        // A list of devices that the app has no right to use is an empty one.
        Allowed::Playing if !rights.play && command == 22 => Allowed::EmptyList,
        Allowed::Recording if !rights.record && command == 24 => Allowed::EmptyList,
        Allowed::Playing | Allowed::OwnPlayback if !rights.play => Allowed::Never,
        Allowed::Recording | Allowed::OwnRecord if !rights.record => Allowed::Never,
        allowed => allowed,
    }
}

/// Whether the server's message is one that an app is to see. The others are about shared memory.
pub(crate) fn may_be_told(command: u32) -> bool {
    FROM_SERVER.contains(&command)
}

/// Properties that an app may set on itself and its streams: what it is called and what it plays. Others steer the
/// server: a filter's name has PulseAudio load a module, a media class makes a PipeWire stream a microphone.
pub(crate) fn may_be_set(property: &[u8]) -> bool {
    const BEGINNINGS: &[&[u8]] = &[b"application.", b"event.", b"window.", b"format."];
    const NAMES: &[&[u8]] = &[
        b"media.artist",
        b"media.copyright",
        b"media.filename",
        b"media.icon",
        b"media.icon_name",
        b"media.language",
        b"media.name",
        b"media.role",
        b"media.software",
        b"media.title",
    ];
    NAMES.contains(&property) || BEGINNINGS.iter().any(|beginning| property.starts_with(beginning))
}
