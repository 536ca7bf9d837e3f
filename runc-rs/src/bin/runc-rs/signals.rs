//! Signals by name and number.

/// The number of `name`: `KILL`, `SIGKILL`, `9`, `RTMIN+3`. Of a number the kernel judges.
pub(crate) fn parse(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return Some(number);
    }
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = short.strip_prefix("RTMIN") {
        return real_time(libc::SIGRTMIN(), offset);
    }
    if let Some(offset) = short.strip_prefix("RTMAX") {
        return real_time(libc::SIGRTMAX(), offset);
    }
    let alias = match short {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        other => other,
    };
    format!("SIG{alias}")
        .parse::<nix::sys::signal::Signal>()
        .ok()
        .map(|signal| signal as i32)
}

fn real_time(base: i32, offset: &str) -> Option<i32> {
    let offset: i32 = if offset.is_empty() { 0 } else { offset.parse().ok()? };
    Some(base + offset).filter(|number| (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (name, number) in [
            ("KILL", 9),
            ("sigterm", 15),
            ("9", 9),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SIGCLD", 17),
        ] {
            assert_eq!(parse(name), Some(number), "{name}");
        }
        for bad in ["BLA", "1x", "RTMIN+40", ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
