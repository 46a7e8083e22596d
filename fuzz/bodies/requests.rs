//! Input: requests, as the kernel would write them to /dev/fuse, about one of a few images.
//!
//! ```text
//! 0   which image
//!     records: u16 length (bit 15: the node is a number in the list of those that were found so far), the request
//! ```

use std::sync::Arc;

use pack_launcher::fuse::reply::{HEADER_SIZE, Reply};
use pack_launcher::fuse::request::{Operation, Request};
use pack_launcher::fuse::{Answer, Owner, Server};
use pack_launcher::image::{CacheSize, Reader};

use super::memory::Bytes;

/// Images of real tools, with a little of everything.
const IMAGES: [&[u8]; 3] = [
    include_bytes!("images/zstd"),
    include_bytes!("images/gzip-fragments"),
    include_bytes!("images/plain-many"),
];
/// Most requests of one input.
const REQUESTS_MOST: usize = 64;
/// In the length of a record: its node is a number in the list of nodes found.
const BY_NUMBER: u16 = 0x8000;

/// Sends the requests to a server, and checks that the kernel would take each answer: for one of the wrong shape it would
/// end the connection, and with it the mount.
pub fn run(bytes: &[u8]) {
    let Some((which, mut records)) = bytes.split_first() else { return };
    let image = IMAGES[usize::from(*which) % IMAGES.len()].to_vec();
    let reader = Reader::open(Arc::new(Bytes(image)), CacheSize { bytes: 64 << 10 }).unwrap();
    let server = Server::new(reader, Owner { user: 1000, group: 100 }, |_| {});
    let mut nodes = vec![1];
    for _ in 0..REQUESTS_MOST {
        let Some((length, rest)) = records.split_first_chunk() else { return };
        let length = u16::from_le_bytes(*length);
        let (request, rest) = rest.split_at(usize::from(length & !BY_NUMBER).min(rest.len()));
        records = rest;
        let mut request = request.to_vec();
        if length & BY_NUMBER != 0
            && let Some(node) = request.get_mut(16..24)
        {
            let number = usize::from(node[0]) % nodes.len();
            node.copy_from_slice(&u64::to_ne_bytes(nodes[number]));
        }
        answer(&server, &request, &mut nodes);
    }
}

fn answer(server: &Server, request: &[u8], nodes: &mut Vec<u64>) {
    let mut reply = Reply::default();
    let Answer::Send(bytes) = server.answer(request, &mut reply) else {
        // Nobody is left without an answer who waits for one.
        assert!(
            Request::parse(request).map_or(request.len() < 40, |asked| asked.operation == Operation::Forget)
        );
        return;
    };
    let (header, body) = bytes.split_at(HEADER_SIZE);
    assert_eq!(header[..4], (bytes.len() as u32).to_ne_bytes());
    assert_eq!(header[8..], request[8..16]);
    let errno = i32::from_ne_bytes(header[4..8].try_into().unwrap());
    if errno != 0 {
        assert!((-511..0).contains(&errno) && body.is_empty(), "{errno}");
        return;
    }
    match Request::parse(request).unwrap().operation {
        Operation::LookUp { .. } => {
            assert_eq!(body.len(), 128);
            found(nodes, &body[..8]);
        }
        Operation::Attributes => assert_eq!(body.len(), 104),
        Operation::ReadLink => assert!((1..4096).contains(&body.len())),
        Operation::Read { size, .. } => assert!(body.len() <= size as usize),
        Operation::ReadFolder { size, with_nodes, .. } => {
            assert!(body.len() <= size as usize);
            folder(body, with_nodes, nodes);
        }
        Operation::GetAttribute { size: 0, .. } | Operation::ListAttributes { size: 0 } => {
            assert_eq!(body.len(), 8);
        }
        Operation::GetAttribute { size, .. } | Operation::ListAttributes { size } => {
            assert!(body.len() <= size as usize);
        }
        Operation::Seek { .. } => assert_eq!(body.len(), 8),
        Operation::Statistics => assert_eq!(body.len(), 80),
        Operation::Initialise(_) => assert_eq!(body.len(), 64),
        Operation::Destroy => assert_eq!(body.len(), 0),
        Operation::Forget | Operation::Other { .. } => panic!("an answer to {request:?}"),
    }
}

/// Goes through a listing as the kernel does.
fn folder(mut body: &[u8], with_nodes: bool, nodes: &mut Vec<u64>) {
    while !body.is_empty() {
        if with_nodes {
            found(nodes, &body[..8]);
            body = &body[128..];
        }
        let length = u32::from_ne_bytes(body[16..20].try_into().unwrap()) as usize;
        let name = &body[24..24 + length];
        assert!((1..=255).contains(&length) && !name.contains(&0) && !name.contains(&b'/'));
        body = &body[(24 + length).next_multiple_of(8)..];
    }
}

fn found(nodes: &mut Vec<u64>, number: &[u8]) {
    let number = u64::from_ne_bytes(number.try_into().unwrap());
    if number != 0 && nodes.len() < 256 {
        nodes.push(number);
    }
}
