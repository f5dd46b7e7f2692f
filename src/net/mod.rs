//! Sockets: listeners that accept, and a task for each connection that moves bytes between its socket and its state
//! machine. Nothing is decided here.

mod driver;
mod listener;

pub use listener::{BindError, Listener};
