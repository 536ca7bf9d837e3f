//! Signals by name or number.

use crate::error::{Error, Result};

const NAMES: [(&str, u32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];
const RTMIN: u32 = 34;
const RTMAX: u32 = 64;

/// The number of `SIGTERM`, `term`, `15`, `RTMIN+3`.
///
/// # Errors
/// 400 `invalid signal: x`.
pub(crate) fn parse(text: &str) -> Result<u32> {
    let wrong = || Error::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<u32>() {
        return if (1..=RTMAX).contains(&number) {
            Ok(number)
        } else {
            Err(wrong())
        };
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(name, _)| *name == bare) {
        return Ok(*number);
    }
    let real_time = match bare {
        "RTMIN" => Some(RTMIN),
        "RTMAX" => Some(RTMAX),
        "POLL" => Some(29),
        "CLD" => Some(17),
        _ => {
            let above = bare
                .strip_prefix("RTMIN+")
                .and_then(|n| n.parse::<u32>().ok())
                .and_then(|n| RTMIN.checked_add(n));
            above.or_else(|| {
                bare.strip_prefix("RTMAX-")
                    .and_then(|n| n.parse::<u32>().ok())
                    .and_then(|n| RTMAX.checked_sub(n))
            })
        }
    };
    real_time
        .filter(|number| (RTMIN..=RTMAX).contains(number))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in ["", "0", "65", "SIGNOPE", "RTMIN+99", "-9"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
