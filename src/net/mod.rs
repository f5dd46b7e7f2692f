//! Sockets: listeners that accept, what comes before AMQP, and a task for each connection that moves bytes between its
//! socket and its state machine. Nothing is decided here.

mod driver;
mod entrance;
mod listener;
mod preamble;
pub mod proxy;
mod tls;
mod turns;

pub use entrance::{Entrance, Terms};
pub use listener::{BindError, Listener, Transport};
pub use tls::{ClientCertificates, TlsError, TlsFiles, load as load_tls};
