//! One connection of an app's, and the one to the server that belongs to it.
//!
//! ```text
//! app ── input ─▶ frames ─▶ output ── server
//!     ◀─ output ── frames ◀─ input ──
//!            ▲ the companion's own answers, between two frames
//! ```
//!
//! Nothing is read while more than a bounded part waits to be written: a side that does not read is waited for by the
//! other one, and by no other connection.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::PollFlags;
use rustix::net::UCred;

use super::frame::{self, CONTROL, HEADER, Refused};
use super::session::{Session, Verdict};
use crate::companion::buffer::{Buffer, Flow};

/// Longest control packet of an app, in bytes. The longest that programs send has an icon in it.
const FROM_APP_MOST: u32 = 256 << 10;
/// Longest control packet of the server: a list of all devices.
const FROM_SERVER_MOST: u32 = 1 << 20;
/// More bytes than this wait to be written: nothing is read.
const WAITING_MOST: usize = 256 << 10;
/// More bytes of the companion's own answers wait: nothing of the app's is read.
const ANSWERS_MOST: usize = 16 << 10;

/// One direction.
#[derive(Default)]
struct Lane {
    input: Buffer,
    output: Buffer,
    /// Bytes of audio data that are still to come of the frame that was begun, and whether they go on.
    passing: usize,
    dropped: bool,
    /// The side that it comes from has closed.
    ended: bool,
}

/// A connection.
pub(crate) struct Connection {
    app: OwnedFd,
    server: OwnedFd,
    up: Lane,
    down: Lane,
    answers: Buffer,
    session: Session,
    /// Who the companion is, until the server was told.
    credentials: Option<UCred>,
}

impl Lane {
    fn wants_more(&self, control_most: u32) -> bool {
        let enough = control_most as usize + HEADER;
        !self.ended && self.output.len() < WAITING_MOST && self.input.len() < enough
    }

    /// Passes on, or drops, what there is of audio data; says whether the frame is at its end.
    fn pass_data(&mut self) -> bool {
        let count = match self.dropped {
            false => self.output.take_from(&mut self.input, self.passing),
            true => {
                let count = self.passing.min(self.input.len());
                self.input.consume(count);
                count
            }
        };
        self.passing -= count;
        self.passing == 0
    }

    fn begin_data(&mut self, length: usize, dropped: bool) {
        self.passing = length;
        self.dropped = dropped;
        let header = &self.input.bytes()[..HEADER];
        if !dropped {
            self.output.push(header);
        }
        self.input.consume(HEADER);
    }
}

impl Connection {
    pub(crate) fn new(app: OwnedFd, server: OwnedFd, session: Session, own: UCred) -> Connection {
        Connection {
            app,
            server,
            up: Lane::default(),
            down: Lane::default(),
            answers: Buffer::default(),
            session,
            credentials: Some(own),
        }
    }

    pub(crate) fn app(&self) -> &OwnedFd {
        &self.app
    }

    pub(crate) fn server(&self) -> &OwnedFd {
        &self.server
    }

    /// What is waited for on the app's side, and on the server's.
    pub(crate) fn wanted(&self) -> [PollFlags; 2] {
        let wanted = |reads: bool, writes: bool| {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, reads);
            flags.set(PollFlags::OUT, writes);
            flags
        };
        [
            wanted(self.reads_app(), !self.down.output.is_empty()),
            wanted(self.down.wants_more(FROM_SERVER_MOST), !self.up.output.is_empty()),
        ]
    }

    fn reads_app(&self) -> bool {
        self.up.wants_more(FROM_APP_MOST) && self.answers.len() < ANSWERS_MOST
    }

    /// Does what can be done after something happened on the two sides; says whether the connection goes on.
    pub(crate) fn attend(&mut self, happened: [PollFlags; 2]) -> io::Result<bool> {
        let reads = [self.reads_app(), self.down.wants_more(FROM_SERVER_MOST)];
        for (happened, reads) in happened.iter().zip(reads) {
            // One that is gone while nothing is read of it would be told again and again.
            if happened.intersects(PollFlags::HUP | PollFlags::ERR) && !reads {
                return Ok(false);
            }
        }
        if !happened[0].is_empty() && reads[0] {
            self.up.ended |= self.up.input.read_from(&self.app)? == Flow::Ended;
        }
        if !happened[1].is_empty() && reads[1] {
            self.down.ended |= self.down.input.read_from(&self.server)? == Flow::Ended;
        }
        if self.advance().is_err() {
            return Ok(false);
        }
        if self.write_to_server()? == Flow::Ended || self.down.output.write_to(&self.app)? == Flow::Ended {
            return Ok(false);
        }
        if self.advance().is_err() {
            return Ok(false);
        }
        Ok(!self.up.ended && !self.down.ended)
    }

    fn write_to_server(&mut self) -> io::Result<Flow> {
        let output = &mut self.up.output;
        match self.credentials {
            Some(own) if !output.is_empty() => {
                let flow = output.introduce_to(&self.server, own)?;
                if flow == Flow::Moved {
                    self.credentials = None;
                }
                Ok(flow)
            }
            _ => output.write_to(&self.server),
        }
    }

    /// Goes through the frames that have arrived, as far as there is room for what becomes of them.
    fn advance(&mut self) -> Result<(), Refused> {
        while self.up.output.len() < WAITING_MOST && self.answers.len() < ANSWERS_MOST {
            if !self.advance_up()? {
                break;
            }
        }
        while self.down.output.len() < WAITING_MOST {
            if !self.advance_down()? {
                break;
            }
        }
        Ok(())
    }

    /// Takes one frame of the app's; says whether there may be more.
    fn advance_up(&mut self) -> Result<bool, Refused> {
        if !self.up.pass_data() {
            return Ok(false);
        }
        let Some(header) = frame::header(self.up.input.bytes(), FROM_APP_MOST)? else { return Ok(false) };
        if header.channel != CONTROL {
            let dropped = !self.session.plays_on(header.channel);
            self.up.begin_data(header.length, dropped);
            return Ok(true);
        }
        let end = HEADER + header.length;
        let Some(packet) = self.up.input.bytes().get(HEADER..end) else { return Ok(false) };
        match self.session.judge_app(packet)? {
            Verdict::Forward(packet) => self.up.output.push(&frame::control(&packet)),
            Verdict::Answer(packet) => self.answers.push(&frame::control(&packet)),
        }
        self.up.input.consume(end);
        Ok(true)
    }

    /// Takes one frame of the server's, or what the companion itself has to say; says whether there may be more.
    fn advance_down(&mut self) -> Result<bool, Refused> {
        if !self.down.pass_data() {
            return Ok(false);
        }
        self.down.output.take_from(&mut self.answers, usize::MAX);
        let Some(header) = frame::header(self.down.input.bytes(), FROM_SERVER_MOST)? else {
            return Ok(false);
        };
        if header.channel != CONTROL {
            let dropped = !self.session.records_on(header.channel);
            self.down.begin_data(header.length, dropped);
            return Ok(true);
        }
        let end = HEADER + header.length;
        let Some(packet) = self.down.input.bytes().get(HEADER..end) else { return Ok(false) };
        if let Some(packet) = self.session.judge_server(packet)? {
            self.down.output.push(&frame::control(&packet));
        }
        self.down.input.consume(end);
        Ok(true)
    }
}
