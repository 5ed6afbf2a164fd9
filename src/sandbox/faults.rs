//! The faults that can happen between the marketplace and a client, by rate or by script.
//!
//! A fault is written as `name` or `name:argument`, for instance `truncate`, `late:2s` or `huge:64MiB`, on the command
//! line and in the control API alike.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};
use thiserror::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// The destructive read: it marks the orders that it returns.
    NewOrders,
    /// The list of the IDs of the last 8 days.
    OrderIds,
    Order,
}

impl Call {
    pub const ALL: [Self; 3] = [Self::NewOrders, Self::OrderIds, Self::Order];

    /// The name in the control API and in fault rates.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NewOrders => "new-orders",
            Self::OrderIds => "order-ids",
            Self::Order => "order",
        }
    }
}

/// Why a text is no fault, or no rate of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FaultError {
    #[error("`{0}` is no fault: use one of {names}", names = Fault::NAMES.join(", "))]
    Unknown(String),
    /// The argument is no duration or size, or the fault takes none.
    #[error("`{argument}` is no argument of the fault `{name}`: {expected}")]
    Argument {
        name: String,
        argument: String,
        /// What the fault expects instead.
        expected: &'static str,
    },
    /// The fault only makes sense for a page of orders.
    #[error("the fault `{0}` does not apply to the call `{call}`", call = .1.name())]
    DoesNotFit(Fault, Call),
    /// The text is not of the form `fault=0.05`.
    #[error("`{0}` is no rate: write `fault=0.05`, with a share from 0 to 1")]
    Rate(String),
    /// The rates of one call add up to more than 1.
    #[error("the rates of the call `{call}` add up to more than 1", call = .0.name())]
    Sum(Call),
}

/// A way in which an answer goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is cut without a byte of answer; nothing was marked.
    DropBefore,
    /// The connection is cut without a byte of answer, after the orders were marked.
    DropAfter,
    /// The connection is cut in the middle of the promised body, after the orders were marked.
    Truncate,
    /// A 500; nothing was marked.
    ErrorBefore,
    /// A 500, after the orders were marked.
    ErrorAfter,
    /// The whole answer, this much later.
    Late(Duration),
    /// The metadata counts more records than the page has.
    WrongCounts,
    /// A 200 with a page of HTML in the place of the JSON, after the orders were marked.
    Html,
    /// The JSON followed by blanks until it has this many bytes.
    Huge(usize),
    /// The whole answer, in pieces of [`Fault::PIECE`] bytes, with this pause before each further piece.
    Trickle(Duration),
    /// A 429 with this `Retry-After`; nothing was marked.
    Throttle(Duration),
    /// `data` is an object with numeric keys, as PHP encodes an array with gaps.
    ObjectData,
    /// The first record's `buyer` is `[]`, as PHP encodes an empty object.
    EmptyAsList,
    /// A byte order mark before the JSON.
    Bom,
    /// The JSON under `Content-Type: text/html`.
    TextHtml,
    /// A 302 to another host; nothing was marked.
    Redirect,
    /// One record more than the page size allows.
    Overfull,
    /// The first record a second time, at the end.
    Duplicates,
    /// An empty page although orders are pending; nothing was marked.
    EmptyPending,
    /// A PHP notice before the JSON.
    Notice,
    /// A PHP notice behind the JSON.
    NoticeBehind,
    /// A byte that is not UTF-8 in the first record.
    InvalidUtf8,
    /// The answer in ISO-8859-1, and `Content-Type` says so.
    Latin1,
    /// A 204; nothing was marked.
    NoContent,
    /// A 404 with a message; nothing was marked.
    NotFound,
    /// A 200 with a message and no `data`; nothing was marked.
    Message,
    /// As [`Fault::Message`], but the message says that it is an error.
    Complaint,
    /// A 403 with HTML from a firewall in front; nothing was marked.
    Waf,
    /// As [`Fault::Waf`], after the orders were marked: the firewall keeps back the answer.
    WafAfter,
}

impl Fault {
    /// The names of all faults.
    pub const NAMES: [&str; 29] = [
        "drop-before",
        "drop-after",
        "truncate",
        "error-before",
        "error-after",
        "late",
        "wrong-counts",
        "html",
        "huge",
        "trickle",
        "throttle",
        "object-data",
        "empty-as-list",
        "bom",
        "text-html",
        "redirect",
        "overfull",
        "duplicates",
        "empty-pending",
        "notice",
        "notice-behind",
        "invalid-utf8",
        "latin1",
        "no-content",
        "not-found",
        "message",
        "complaint",
        "waf",
        "waf-after",
    ];

    /// The bytes in each piece of a trickled answer.
    pub const PIECE: usize = 256;

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DropBefore => "drop-before",
            Self::DropAfter => "drop-after",
            Self::Truncate => "truncate",
            Self::ErrorBefore => "error-before",
            Self::ErrorAfter => "error-after",
            Self::Late(_) => "late",
            Self::WrongCounts => "wrong-counts",
            Self::Html => "html",
            Self::Huge(_) => "huge",
            Self::Trickle(_) => "trickle",
            Self::Throttle(_) => "throttle",
            Self::ObjectData => "object-data",
            Self::EmptyAsList => "empty-as-list",
            Self::Bom => "bom",
            Self::TextHtml => "text-html",
            Self::Redirect => "redirect",
            Self::Overfull => "overfull",
            Self::Duplicates => "duplicates",
            Self::EmptyPending => "empty-pending",
            Self::Notice => "notice",
            Self::NoticeBehind => "notice-behind",
            Self::InvalidUtf8 => "invalid-utf8",
            Self::Latin1 => "latin1",
            Self::NoContent => "no-content",
            Self::NotFound => "not-found",
            Self::Message => "message",
            Self::Complaint => "complaint",
            Self::Waf => "waf",
            Self::WafAfter => "waf-after",
        }
    }

    /// Whether it strikes before the orders are marked, so that they stay pending.
    #[must_use]
    pub fn precedes_marking(self) -> bool {
        matches!(
            self,
            Self::DropBefore
                | Self::ErrorBefore
                | Self::Throttle(_)
                | Self::Redirect
                | Self::EmptyPending
                | Self::NoContent
                | Self::NotFound
                | Self::Message
                | Self::Complaint
                | Self::Waf
        )
    }

    /// Whether it can strike this call.
    #[must_use]
    pub fn fits(self, call: Call) -> bool {
        match self {
            Self::WrongCounts | Self::EmptyAsList | Self::Overfull | Self::EmptyPending => call == Call::NewOrders,
            Self::ObjectData | Self::Duplicates => call != Call::Order,
            Self::InvalidUtf8 => call != Call::OrderIds,
            _ => true,
        }
    }

    fn fitting(self, call: Call) -> Result<Self, FaultError> {
        if self.fits(call) { Ok(self) } else { Err(FaultError::DoesNotFit(self, call)) }
    }

    /// Whether an answer with this fault brings the client all its records. `None` if that depends on the client's
    /// limits and timeouts.
    #[must_use]
    pub fn delivers(self) -> Option<bool> {
        match self {
            Self::DropAfter | Self::Truncate | Self::ErrorAfter | Self::Html | Self::WafAfter => Some(false),
            Self::Huge(_) | Self::Trickle(_) => None,
            fault => Some(!fault.precedes_marking()),
        }
    }

    fn without_argument(name: &str) -> Option<Self> {
        Some(match name {
            "drop-before" => Self::DropBefore,
            "drop-after" => Self::DropAfter,
            "truncate" => Self::Truncate,
            "error-before" => Self::ErrorBefore,
            "error-after" => Self::ErrorAfter,
            "late" => Self::Late(Duration::from_secs(2)),
            "wrong-counts" => Self::WrongCounts,
            "html" => Self::Html,
            "huge" => Self::Huge(64 << 20),
            "trickle" => Self::Trickle(Duration::from_millis(20)),
            "throttle" => Self::Throttle(Duration::from_secs(1)),
            "object-data" => Self::ObjectData,
            "empty-as-list" => Self::EmptyAsList,
            "bom" => Self::Bom,
            "text-html" => Self::TextHtml,
            "redirect" => Self::Redirect,
            "overfull" => Self::Overfull,
            "duplicates" => Self::Duplicates,
            "empty-pending" => Self::EmptyPending,
            "notice" => Self::Notice,
            "notice-behind" => Self::NoticeBehind,
            "invalid-utf8" => Self::InvalidUtf8,
            "latin1" => Self::Latin1,
            "no-content" => Self::NoContent,
            "not-found" => Self::NotFound,
            "message" => Self::Message,
            "complaint" => Self::Complaint,
            "waf" => Self::Waf,
            "waf-after" => Self::WafAfter,
            _ => return None,
        })
    }

    fn with_argument(self, argument: &str) -> Result<Self, FaultError> {
        let refused = |expected| FaultError::Argument { name: self.name().into(), argument: argument.into(), expected };
        let duration = || parse_duration(argument).map_err(|_| refused("write a duration, for instance `500ms`"));
        Ok(match self {
            Self::Late(_) => Self::Late(duration()?),
            Self::Trickle(_) => Self::Trickle(duration()?),
            Self::Throttle(_) => Self::Throttle(duration()?),
            Self::Huge(_) => {
                Self::Huge(parse_size(argument).ok_or_else(|| refused("write a size, for instance `64MiB`"))?)
            }
            _ => return Err(refused("it takes none")),
        })
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        let fault = Self::without_argument(name.trim()).ok_or_else(|| FaultError::Unknown(name.into()))?;
        argument.map_or(Ok(fault), |argument| fault.with_argument(argument.trim()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(time) | Self::Trickle(time) | Self::Throttle(time) => {
                write!(f, "{}:{}ms", self.name(), time.as_millis())
            }
            Self::Huge(bytes) => write!(f, "{}:{bytes}", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

impl Serialize for Fault {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Parses a duration such as `20ms` or `1m 30s`. It must not be negative.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = |_| format!("`{text}` is no duration: write for instance `20ms` or `1m 30s`");
    let signed: SignedDuration = text.parse().map_err(refused)?;
    Duration::try_from(signed).map_err(refused)
}

fn parse_size(text: &str) -> Option<usize> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let (digits, unit) =
        units.into_iter().find_map(|(name, bytes)| Some((text.strip_suffix(name)?, bytes))).unwrap_or((text, 1));
    digits.trim().parse::<usize>().ok()?.checked_mul(unit)
}

/// How often each fault strikes, written as `fault=share` with commas between, for instance
/// `truncate=0.02,late:5s=0.01`. A fault strikes the destructive read, unless another call is named before it:
/// `order/error-before=0.1`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates(Vec<(Call, Fault, f64)>);

impl FromStr for Rates {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let rates = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(parse_rate)
            .collect::<Result<Vec<_>, _>>()?;
        for call in Call::ALL {
            let sum: f64 = rates.iter().filter(|rate| rate.0 == call).map(|rate| rate.2).sum();
            // A little above 1, so that ten times 0.1 passes in spite of rounding.
            if sum > 1.0 + 1e-9 {
                return Err(FaultError::Sum(call));
            }
        }
        Ok(Self(rates))
    }
}

fn parse_rate(entry: &str) -> Result<(Call, Fault, f64), FaultError> {
    let no_rate = || FaultError::Rate(entry.into());
    let (what, share) = entry.split_once('=').ok_or_else(no_rate)?;
    let (call, fault) = match what.split_once('/') {
        Some((name, fault)) => {
            (Call::ALL.into_iter().find(|call| call.name() == name.trim()).ok_or_else(no_rate)?, fault)
        }
        None => (Call::NewOrders, what),
    };
    let fault: Fault = fault.trim().parse()?;
    let share: f64 = share.trim().parse().map_err(|_| no_rate())?;
    if !(0.0..=1.0).contains(&share) {
        return Err(no_rate());
    }
    Ok((call, fault.fitting(call)?, share))
}

/// Parses a step of a call's script: a fault, or `ok` for an answer without one.
///
/// # Errors
/// [`FaultError`] if the text is neither, or if the fault does not fit the call.
pub fn parse_step(call: Call, text: &str) -> Result<Option<Fault>, FaultError> {
    if text == "ok" { Ok(None) } else { text.parse::<Fault>()?.fitting(call).map(Some) }
}

/// Chooses the fault of the next call: from the script first, and by chance once the script is used up.
#[derive(Debug)]
pub(super) struct Faults {
    scripts: [VecDeque<Option<Fault>>; 3],
    rates: Rates,
    chance: StdRng,
}

impl Faults {
    pub(super) fn new(rates: Rates, seed: u64) -> Self {
        Self { scripts: Default::default(), rates, chance: StdRng::seed_from_u64(seed) }
    }

    pub(super) fn set_rates(&mut self, rates: Rates) {
        self.rates = rates;
    }

    /// Appends steps to a call's script, all of them or none.
    pub(super) fn script(&mut self, call: Call, steps: &[Option<Fault>]) -> Result<(), FaultError> {
        for fault in steps.iter().flatten() {
            fault.fitting(call)?;
        }
        self.scripts[call as usize].extend(steps);
        Ok(())
    }

    pub(super) fn clear_scripts(&mut self) {
        self.scripts = Default::default();
    }

    /// The number of steps left in all scripts.
    pub(super) fn scripted(&self) -> usize {
        self.scripts.iter().map(VecDeque::len).sum()
    }

    pub(super) fn next(&mut self, call: Call) -> Option<Fault> {
        if let Some(step) = self.scripts[call as usize].pop_front() {
            return step;
        }
        let mut rates = self.rates.0.iter().filter(|rate| rate.0 == call).peekable();
        rates.peek()?;
        let mut left: f64 = self.chance.random();
        rates
            .find(|rate| {
                left -= rate.2;
                left < 0.0
            })
            .map(|rate| rate.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_survives_the_way_to_text_and_back() {
        for name in Fault::NAMES {
            let fault: Fault = name.parse().unwrap();
            assert_eq!(fault.name(), name);
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
    }

    #[test]
    fn arguments_are_durations_and_sizes_and_nothing_else() {
        assert_eq!("late:1500ms".parse(), Ok(Fault::Late(Duration::from_millis(1500))));
        assert_eq!("throttle:1m 30s".parse(), Ok(Fault::Throttle(Duration::from_secs(90))));
        assert_eq!("huge:2MiB".parse(), Ok(Fault::Huge(2 << 20)));
        for bad in ["late:soon", "late:-1s", "huge:big", "truncate:3", "melt"] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_that_make_no_sense_are_refused_with_a_reason() {
        assert_eq!("".parse(), Ok(Rates::default()));
        for (bad, reason) in [
            ("truncate", "write `fault=0.05`"),
            ("truncate=2", "from 0 to 1"),
            ("truncate=0.6,html=0.6", "more than 1"),
            ("order/overfull=0.1", "does not apply"),
            ("nowhere/html=0.1", "is no rate"),
        ] {
            let error = bad.parse::<Rates>().unwrap_err().to_string();
            assert!(error.contains(reason), "{bad}: {error}");
        }
    }

    #[test]
    fn the_script_comes_first_and_then_chance_at_the_given_rates() {
        let mut faults = Faults::new("truncate=0.25,late:5s=0.25,order/html=1".parse().unwrap(), 7);
        faults.script(Call::NewOrders, &[Some(Fault::Bom), None]).unwrap();
        assert_eq!(faults.next(Call::NewOrders), Some(Fault::Bom));
        assert_eq!(faults.next(Call::NewOrders), None);
        let drawn: Vec<_> = (0..4000).map(|_| faults.next(Call::NewOrders)).collect();
        for wanted in [Some(Fault::Truncate), Some(Fault::Late(Duration::from_secs(5)))] {
            let count = drawn.iter().filter(|fault| **fault == wanted).count();
            assert!((850..1150).contains(&count), "{wanted:?}: {count}");
        }
        assert_eq!(faults.next(Call::Order), Some(Fault::Html));
        assert_eq!(faults.next(Call::OrderIds), None);
    }
}
