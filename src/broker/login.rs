//! Logging in with a password: what is decided at once, and what takes so long that it is done elsewhere.
//!
//! What was wrong with a login is for the log only; a peer must not learn whether the name or the password was. So
//! every refusal costs one slow hash where some user has one, whatever it was for.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::Broker;
use super::accounts::Accounts;
use super::outbox::{Notice, Outbox};
use super::password::PasswordHash;
use super::user::User;

/// Why a login was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefused {
    /// No user has this name.
    #[error("there is no such user")]
    UnknownUser,
    /// Blank passwords are refused whatever is stored.
    #[error("the password is blank")]
    BlankPassword,
    /// The user can not log in with a password.
    #[error("the user has no password")]
    NoPassword,
    /// The password is another.
    #[error("the password is wrong")]
    WrongPassword,
    /// The user may log in from this machine only.
    #[error("the user may only log in over the loopback interface")]
    NotLoopback,
    /// Everybody logs in at once.
    #[error("too many logins wait for their password to be checked")]
    Busy,
}

/// What becomes of a login.
#[derive(Debug, PartialEq, Eq)]
pub enum Login {
    /// It is the user of this name.
    Accepted(Arc<str>),
    /// The reason is for the log.
    Refused(LoginRefused),
    /// The answer will be in the outbox, as [`Notice::PasswordChecked`].
    Awaited,
}

/// Where slow checks are done: not on a thread that serves connections.
pub trait PasswordChecks: fmt::Debug + Send + Sync {
    /// Takes a check, to [run](PasswordCheck::run) it soon. False when there are too many already.
    fn take(&self, check: PasswordCheck) -> bool;
}

/// Checks on the caller's thread: for simulations.
#[derive(Clone, Copy, Debug)]
pub struct CheckAtOnce;

impl PasswordChecks for CheckAtOnce {
    fn take(&self, check: PasswordCheck) -> bool {
        check.run();
        true
    }
}

/// A password that waits to be checked.
pub struct PasswordCheck {
    trial: Trial,
    password: Box<[u8]>,
    outbox: Arc<Outbox>,
}

/// What a slow check is for.
enum Trial {
    /// To take time: the login is refused anyway.
    Decoy(LoginRefused),
    /// To know whether it is the user's password, and then to answer this.
    Password(Arc<User>, Result<(), LoginRefused>),
}

/// What is known of a login at once.
enum Judgement {
    Known(Result<Arc<str>, LoginRefused>),
    Slow(Trial),
}

impl Broker {
    /// Decides a login with name and password from this address; `outbox` is that of the connection.
    pub fn log_in(&self, name: &str, password: &[u8], ip: IpAddr, outbox: &Arc<Outbox>) -> Login {
        match judge(&self.accounts(), name, password, ip) {
            Judgement::Known(Ok(name)) => Login::Accepted(name),
            Judgement::Known(Err(refused)) => Login::Refused(refused),
            Judgement::Slow(trial) => {
                let check = PasswordCheck {
                    trial,
                    password: password.into(),
                    outbox: Arc::clone(outbox),
                };
                if self.checks.take(check) {
                    Login::Awaited
                } else {
                    Login::Refused(LoginRefused::Busy)
                }
            }
        }
    }
}

impl Broker {
    /// Decides a login that needs no password: a certificate showed who it is, or anybody may be this user.
    pub fn admit(&self, name: &str, ip: IpAddr) -> Login {
        let accounts = self.accounts();
        match accounts.user(name) {
            None => Login::Refused(LoginRefused::UnknownUser),
            Some(user) if !accounts.may_log_in_from(user, ip) => Login::Refused(LoginRefused::NotLoopback),
            Some(user) => Login::Accepted(Arc::clone(&user.name)),
        }
    }
}

impl PasswordCheck {
    /// Does it, and leaves the answer in the connection's outbox.
    pub fn run(self) {
        let answer = match &self.trial {
            Trial::Decoy(refused) => {
                PasswordHash::slow_decoy().verify(&self.password);
                Err(*refused)
            }
            Trial::Password(user, verdict) if user.has_password(&self.password) => {
                verdict.map(|()| Arc::clone(&user.name))
            }
            Trial::Password(..) => Err(LoginRefused::WrongPassword),
        };
        self.outbox.notify(Notice::PasswordChecked(answer));
    }
}

impl fmt::Debug for PasswordCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordCheck").finish_non_exhaustive()
    }
}

fn judge(accounts: &Accounts, name: &str, password: &[u8], ip: IpAddr) -> Judgement {
    if password.is_empty() {
        return Judgement::Known(Err(LoginRefused::BlankPassword));
    }
    let Some(user) = accounts.user(name) else {
        return refuse(accounts, LoginRefused::UnknownUser, password);
    };
    let verdict = if accounts.may_log_in_from(user, ip) {
        Ok(())
    } else {
        Err(LoginRefused::NotLoopback)
    };
    if user.is_slow_to_check(password) {
        return Judgement::Slow(Trial::Password(Arc::clone(user), verdict));
    }
    let verdict = match &user.password {
        None => Err(LoginRefused::NoPassword),
        Some(_) if user.has_password(password) => verdict,
        Some(_) => Err(LoginRefused::WrongPassword),
    };
    match verdict {
        Ok(()) => Judgement::Known(Ok(Arc::clone(&user.name))),
        Err(refused) => refuse(accounts, refused, password),
    }
}

fn refuse(accounts: &Accounts, refused: LoginRefused, password: &[u8]) -> Judgement {
    if accounts.has_slow_passwords() {
        return Judgement::Slow(Trial::Decoy(refused));
    }
    if matches!(refused, LoginRefused::UnknownUser | LoginRefused::NoPassword) {
        PasswordHash::quick_decoy().verify(password);
    }
    Judgement::Known(Err(refused))
}
