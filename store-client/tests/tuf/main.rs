//! The TUF client against stores good and bad, made here, and against those that python-tuf makes.

mod delegations;
mod faults;
mod freeze;
mod http;
mod mixtures;
mod peer;
mod repository;
mod roots;
mod server;
mod versions;
mod world;
