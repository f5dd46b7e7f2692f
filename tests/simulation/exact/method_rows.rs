//! Methods and what they come to, whatever else there is.

use super::exchanges::LOCAL;
use super::stage::{CONFIRM, PLAIN, TX};
use crate::wire::{Arg, NO_TABLE, TICKET};

pub const MISSING: Arg<'_> = Arg::Short("missing");
pub const NOTHING: Arg<'_> = Arg::Short("");
pub const ANOTHER: Arg<'_> = Arg::Short("another");
pub const NONE: Arg<'_> = Arg::Bits(0);
pub const FANOUT: Arg<'_> = Arg::Short("fanout");
pub const DIRECT: Arg<'_> = Arg::Short("direct");
pub const PASSIVE: Arg<'_> = Arg::Bits(1);
pub const DURABLE: Arg<'_> = Arg::Bits(2);
pub const TAG: Arg<'_> = Arg::Short("x");

/// A channel, a method, and what it comes to.
pub type Row<'a> = (u16, (u16, u16), &'a [Arg<'a>], u16);

/// Methods that need nothing to be there, and the answer's number; 0 is none. The one before is undone by the next.
pub const ANSWERED: [&[Row<'_>]; 11] = [
    &[(
        PLAIN,
        (40, 10),
        &[TICKET, Arg::Short("fan"), FANOUT, PASSIVE, NO_TABLE],
        11,
    )],
    &[(PLAIN, (40, 20), &[TICKET, MISSING, PASSIVE], 21)],
    &[(PLAIN, (50, 40), &[TICKET, MISSING, Arg::Bits(3)], 41)],
    &[(PLAIN, (20, 20), &[Arg::Bits(1)], 21)],
    &[(PLAIN, (60, 30), &[Arg::Short("nobody"), NONE], 31)],
    &[(CONFIRM, (85, 10), &[NONE], 11)],
    &[(TX, (90, 10), &[], 11)],
    &[(
        PLAIN,
        (50, 50),
        &[TICKET, Arg::Short("q0"), Arg::Short("fan"), MISSING, NO_TABLE],
        51,
    )],
    &[(
        PLAIN,
        (40, 40),
        &[
            TICKET,
            Arg::Short("topic"),
            Arg::Short("fan"),
            MISSING,
            NONE,
            NO_TABLE,
        ],
        51,
    )],
    // Nobody uses them, and nothing is in them.
    &[
        (PLAIN, (40, 10), &[TICKET, ANOTHER, FANOUT, DURABLE, NO_TABLE], 11),
        (PLAIN, (40, 20), &[TICKET, ANOTHER, Arg::Bits(1)], 21),
        (PLAIN, (50, 10), &[TICKET, ANOTHER, DURABLE, NO_TABLE], 11),
        (PLAIN, (50, 40), &[TICKET, ANOTHER, Arg::Bits(3)], 41),
    ],
    // Nobody waits for an answer.
    &[
        (
            PLAIN,
            (40, 10),
            &[TICKET, ANOTHER, FANOUT, Arg::Bits(16), NO_TABLE],
            0,
        ),
        (PLAIN, (50, 10), &[TICKET, ANOTHER, Arg::Bits(16), NO_TABLE], 0),
        (
            PLAIN,
            (50, 20),
            &[TICKET, ANOTHER, ANOTHER, TAG, Arg::Bits(1), NO_TABLE],
            0,
        ),
        (
            PLAIN,
            (60, 20),
            &[TICKET, ANOTHER, TAG, Arg::Bits(8), NO_TABLE],
            0,
        ),
        (PLAIN, (60, 30), &[TAG, Arg::Bits(1)], 0),
        (PLAIN, (50, 30), &[TICKET, ANOTHER, Arg::Bits(1)], 0),
        (PLAIN, (50, 40), &[TICKET, ANOTHER, Arg::Bits(4)], 0),
        (PLAIN, (40, 20), &[TICKET, ANOTHER, Arg::Bits(2)], 0),
    ],
];

/// Methods that are refused whatever is there, and the reply code.
pub const REFUSED: [Row<'_>; 26] = [
    (PLAIN, (50, 10), &[TICKET, MISSING, PASSIVE, NO_TABLE], 404),
    (
        PLAIN,
        (40, 10),
        &[TICKET, MISSING, FANOUT, PASSIVE, NO_TABLE],
        404,
    ),
    (
        PLAIN,
        (50, 20),
        &[TICKET, MISSING, Arg::Short("fan"), TAG, NONE, NO_TABLE],
        404,
    ),
    (
        PLAIN,
        (50, 20),
        &[TICKET, Arg::Short("q0"), MISSING, TAG, NONE, NO_TABLE],
        404,
    ),
    (
        PLAIN,
        (40, 30),
        &[TICKET, Arg::Short("fan"), MISSING, TAG, NONE, NO_TABLE],
        404,
    ),
    (PLAIN, (50, 30), &[TICKET, MISSING, NONE], 404),
    (PLAIN, (60, 20), &[TICKET, MISSING, TAG, NONE, NO_TABLE], 404),
    (CONFIRM, (60, 70), &[TICKET, MISSING, NONE], 404),
    (TX, (60, 70), &[TICKET, MISSING, NONE], 404),
    (
        PLAIN,
        (40, 10),
        &[TICKET, Arg::Short("amq.mine"), FANOUT, DURABLE, NO_TABLE],
        403,
    ),
    (
        PLAIN,
        (50, 10),
        &[TICKET, Arg::Short("amq.mine"), DURABLE, NO_TABLE],
        403,
    ),
    (PLAIN, (40, 20), &[TICKET, Arg::Short("amq.direct"), NONE], 403),
    (PLAIN, (40, 20), &[TICKET, NOTHING, NONE], 403),
    (
        PLAIN,
        (50, 20),
        &[TICKET, Arg::Short("q0"), NOTHING, TAG, NONE, NO_TABLE],
        403,
    ),
    (
        PLAIN,
        (40, 10),
        &[TICKET, Arg::Short("fan"), DIRECT, DURABLE, NO_TABLE],
        406,
    ),
    (
        PLAIN,
        (40, 10),
        &[TICKET, Arg::Short("fan"), FANOUT, NONE, NO_TABLE],
        406,
    ),
    (
        PLAIN,
        (40, 10),
        &[TICKET, ANOTHER, Arg::Short("x-unheard-of"), DURABLE, NO_TABLE],
        406,
    ),
    (
        PLAIN,
        (50, 20),
        &[TICKET, Arg::Short("q0"), Arg::Short(LOCAL), TAG, NONE, NO_TABLE],
        406,
    ),
    (
        PLAIN,
        (40, 30),
        &[
            TICKET,
            Arg::Short("fan"),
            Arg::Short(LOCAL),
            NOTHING,
            NONE,
            NO_TABLE,
        ],
        406,
    ),
    (
        PLAIN,
        (50, 20),
        &[
            TICKET,
            Arg::Short("q0"),
            Arg::Short("shares"),
            TAG,
            NONE,
            NO_TABLE,
        ],
        406,
    ),
    (PLAIN, (90, 20), &[], 406),
    (CONFIRM, (90, 10), &[], 406),
    (TX, (85, 10), &[NONE], 406),
    (CONFIRM, (60, 80), &[Arg::U64(999_999), NONE], 406),
    (TX, (60, 90), &[Arg::U64(999_999), NONE], 406),
    (PLAIN, (60, 120), &[Arg::U64(999_999), Arg::Bits(3)], 406),
];

/// Methods that cost the connection, and the reply code.
pub const FATAL: [Row<'_>; 8] = [
    (PLAIN, (20, 20), &[NONE], 540),
    (PLAIN, (60, 110), &[NONE], 540),
    (TX, (60, 100), &[NONE], 540),
    (PLAIN, (60, 10), &[Arg::U32(1), Arg::U16(0), NONE], 540),
    (CONFIRM, (20, 10), &[NOTHING], 504),
    (7, (60, 80), &[Arg::U64(1), NONE], 504),
    (PLAIN, (99, 10), &[], 503),
    (PLAIN, (60, 20), &[TICKET, Arg::Short("q0")], 501),
];
