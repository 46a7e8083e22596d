//! The filter without sockets: what passes, what is refused, and that nothing malformed brings it down.

use proptest::prelude::*;

use super::Rights;
use super::commands::number::*;
use super::frame::Refused;
use super::session::{COOKIE, Session, Verdict};
use super::tags::{self, put_bytes, put_number};

const PLAY: Rights = Rights { play: true, record: false };
const RECORD: Rights = Rights { play: false, record: true };
const SET_SINK_INPUT_VOLUME: u32 = 37;
const SET_SOURCE_OUTPUT_VOLUME: u32 = 98;

fn packet(numbers: &[u32]) -> Vec<u8> {
    let mut packet = Vec::new();
    numbers.iter().for_each(|number| put_number(&mut packet, *number));
    packet
}

fn auth(version: u32) -> Vec<u8> {
    let mut packet = packet(&[AUTH, 0, version]);
    put_bytes(&mut packet, b"the app's own");
    packet
}

/// A session that is past its greeting.
fn session(rights: Rights) -> Session {
    let mut session = Session::new(rights, [7; COOKIE]);
    assert!(matches!(session.judge_app(&auth(35)), Ok(Verdict::Forward(_))));
    assert!(matches!(session.judge_server(&packet(&[REPLY, 0, 35])), Ok(Some(_))));
    session
}

/// A session with one stream: channel 0, the server's number 77.
fn with_stream(rights: Rights) -> Session {
    let mut session = session(rights);
    let create = if rights.play { CREATE_PLAYBACK_STREAM } else { CREATE_RECORD_STREAM };
    assert!(passes(&mut session, &[create, 1]));
    assert!(session.judge_server(&packet(&[REPLY, 1, 0, 77, 4096])).unwrap().is_some());
    session
}

fn passes(session: &mut Session, numbers: &[u32]) -> bool {
    match session.judge_app(&packet(numbers)).unwrap() {
        Verdict::Forward(forwarded) => {
            assert_eq!(forwarded, packet(numbers));
            true
        }
        Verdict::Answer(answer) => {
            assert!(answer == packet(&[ERROR, numbers[1], 1]) || answer == packet(&[REPLY, numbers[1]]));
            false
        }
    }
}

#[test]
fn the_greeting_bears_the_users_cookie_and_no_shared_memory() {
    for version in [35, 0x8000_0023, 0xc000_0023, 0xffff_ffff] {
        let mut session = Session::new(PLAY, [7; COOKIE]);
        let mut expected = packet(&[AUTH, 0, 35]);
        put_bytes(&mut expected, &[7; COOKIE]);
        assert_eq!(session.judge_app(&auth(version)), Ok(Verdict::Forward(expected)), "{version:x}");
        let answer = session.judge_server(&packet(&[REPLY, 0, 0xc000_0024]));
        assert_eq!(answer, Ok(Some(packet(&[REPLY, 0, 35]))));
    }
    let mut session = Session::new(PLAY, [7; COOKIE]);
    assert_eq!(session.judge_app(&auth(12)), Ok(Verdict::Answer(packet(&[ERROR, 0, 17]))));
}

#[test]
fn nothing_comes_before_the_greeting_and_no_second_one() {
    assert_eq!(Session::new(PLAY, [0; COOKIE]).judge_app(&packet(&[20, 0])), Err(Refused));
    assert_eq!(session(PLAY).judge_app(&auth(35)), Err(Refused));
}

#[test]
fn only_what_is_allowed_passes() {
    for command in 0..200 {
        for rights in [PLAY, RECORD] {
            if [AUTH, SUBSCRIBE].contains(&command) {
                continue;
            }
            let passed = passes(&mut session(rights), &[command, 5, 3]);
            let expected = match command {
                9 | 20 | 82 | 85 => true,
                3 | 4 | 10 | 12 | 14 | 21 | 22 | 41..=43 | 46 | 60 | 72 | 74 | 81 | 84 => rights.play,
                5 | 6 | 11 | 23 | 24 | 47 | 57..=59 | 73 | 75 | 80 | 83 => rights.record,
                _ => false,
            };
            assert_eq!(passed, expected, "{command} {rights:?}");
        }
    }
}

#[test]
fn streams_of_others_are_out_of_reach() {
    for (rights, commands) in
        [(PLAY, [29, SET_SINK_INPUT_VOLUME, 49, 69]), (RECORD, [31, SET_SOURCE_OUTPUT_VOLUME, 50, 99])]
    {
        for command in commands {
            let mut session = with_stream(rights);
            assert!(passes(&mut session, &[command, 2, 77]), "{command}");
            assert!(!passes(&mut session, &[command, 3, 76]), "{command}");
            assert!(!passes(&mut session, &[command, 4]), "{command}");
        }
        let mut ended = with_stream(rights);
        let (delete, killed) = match rights.play {
            true => (DELETE_PLAYBACK_STREAM, PLAYBACK_STREAM_KILLED),
            false => (DELETE_RECORD_STREAM, RECORD_STREAM_KILLED),
        };
        assert!(passes(&mut ended, &[delete, 2, 0]));
        assert!(!passes(&mut ended, &[commands[1], 3, 77]), "the number may be another's now");
        let mut ended = with_stream(rights);
        ended.judge_server(&packet(&[killed, u32::MAX, 0])).unwrap();
        assert!(!passes(&mut ended, &[commands[1], 3, 77]));
    }
}

#[test]
fn an_answer_cannot_be_taken_for_a_new_streams() {
    // The answer to 72 begins with numbers that the app has chosen.
    let mut session = with_stream(PLAY);
    assert!(passes(&mut session, &[CREATE_PLAYBACK_STREAM, 9]));
    assert_eq!(session.judge_app(&packet(&[72, 9, 0, 4, 4])), Err(Refused));
    let mut session = with_stream(PLAY);
    assert!(passes(&mut session, &[72, 9, 0, 4, 4]));
    session.judge_server(&packet(&[REPLY, 9, 1, 4, 4])).unwrap();
    assert!(!passes(&mut session, &[SET_SINK_INPUT_VOLUME, 10, 4]));
    assert_eq!(session.judge_server(&packet(&[REPLY, 9, 1, 4, 4])), Ok(None), "nobody has asked");
}

#[test]
fn data_pass_in_own_streams_alone() {
    let session = with_stream(PLAY);
    assert!(session.plays_on(0) && !session.plays_on(1) && !session.records_on(0));
    let session = with_stream(RECORD);
    assert!(session.records_on(0) && !session.plays_on(0));
}

#[test]
fn others_are_not_heard_of() {
    let mut playing = with_stream(PLAY);
    let subscribed = playing.judge_app(&packet(&[SUBSCRIBE, 2, 0xffff_ffff]));
    assert_eq!(subscribed, Ok(Verdict::Forward(packet(&[SUBSCRIBE, 2, 0x85]))));
    let mut recording = with_stream(RECORD);
    let subscribed = recording.judge_app(&packet(&[SUBSCRIBE, 2, 0xffff_ffff]));
    assert_eq!(subscribed, Ok(Verdict::Forward(packet(&[SUBSCRIBE, 2, 0x8a]))));
    for (event, index, heard) in
        [(0x10, 1, true), (0x12, 77, true), (0x22, 76, false), (0x13, 77, false), (0x15, 1, false)]
    {
        let event = packet(&[SUBSCRIBE_EVENT, u32::MAX, event, index]);
        assert_eq!(playing.judge_server(&event).unwrap().is_some(), heard, "{event:?}");
    }
}

#[test]
fn the_server_cannot_offer_memory_to_share() {
    let mut session = session(PLAY);
    for command in [101, 102, 103, 104, 200] {
        assert_eq!(session.judge_server(&packet(&[command, u32::MAX])), Ok(None), "{command}");
    }
}

fn properties(list: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut packet = packet(&[82, 3, 2]);
    packet.push(b'P');
    for (key, value) in list {
        packet.extend([b"t", *key, b"\0"].concat());
        put_number(&mut packet, value.len() as u32);
        put_bytes(&mut packet, value);
    }
    packet.push(b'N');
    packet
}

#[test]
fn properties_that_steer_the_server_are_dropped() {
    let given = properties(&[
        (b"media.name", b"song\0"),
        (b"media.class", b"Audio/Source\0"),
        (b"filter.want", b"echo-cancel\0"),
        (b"application.name", b"player\0"),
        (b"pipewire.access", b"unrestricted\0"),
        (b"application.name", b"twice\0"),
        (b"target.object", b"1\0"),
    ]);
    let passed = properties(&[(b"media.name", b"song\0"), (b"application.name", b"player\0")]);
    assert_eq!(session(PLAY).judge_app(&given), Ok(Verdict::Forward(passed)));
}

#[test]
fn malformed_packets_end_the_connection() {
    let whole = properties(&[(b"media.name", b"song\0")]);
    for length in 0..whole.len() {
        let result = session(PLAY).judge_app(&whole[..length]);
        // Shorter ones may be whole commands that end earlier.
        assert!(result == Err(Refused) || tags::read_all(&whole[..length]).is_ok(), "{length}");
    }
    for odd in
        [&b"L"[..], b"", b"tAUTH\0", b"L\0\0\0\x09L\0\0\0\x01Z", b"L\0\0\0\x09L\0\0\0\x01x\xff\xff\xff\xff"]
    {
        assert_eq!(session(PLAY).judge_app(odd), Err(Refused), "{odd:?}");
    }
}

/// Packets that are nearly right: commands with random values behind them.
fn nearly_right() -> impl Strategy<Value = Vec<u8>> {
    let values = prop::collection::vec(
        prop_oneof![
            any::<u32>().prop_map(|number| packet(&[number])),
            (0..9_u32).prop_map(|number| packet(&[number])),
            prop::collection::vec(any::<u8>(), 0..9),
            Just(b"PtmediaN".to_vec()),
            Just(b"tname\0".to_vec()),
        ],
        0..9,
    );
    ((0..110_u32), (0..4_u32), values).prop_map(|(command, tag, values)| {
        let mut packet = packet(&[command, tag]);
        packet.extend(values.concat());
        packet
    })
}

proptest! {
    #[test]
    fn any_packets_leave_the_filter_standing(
        packets in prop::collection::vec((any::<bool>(), nearly_right()), 0..40),
        play in any::<bool>(),
    ) {
        let mut session = session(Rights { play, record: !play });
        for (from_app, packet) in packets {
            if from_app {
                if let Ok(Verdict::Forward(forwarded)) = session.judge_app(&packet) {
                    prop_assert!(tags::read_all(&forwarded).is_ok());
                    prop_assert!(forwarded.len() <= packet.len());
                }
            } else {
                let _ = session.judge_server(&packet);
            }
        }
        prop_assert!(!(session.plays_on(0) && session.records_on(0)));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(items) = tags::read_all(&bytes) {
            prop_assert_eq!(items.iter().map(|item| item.raw.len()).sum::<usize>(), bytes.len());
        }
    }
}
