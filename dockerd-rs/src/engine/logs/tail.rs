//! Where the last lines of a file begin, found from its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes looked at in one step back.
const STEP: u64 = 64 << 10;

/// The offset of the last `lines` lines within the first `end` bytes, and how many there really are.
pub(super) fn offset(file: &File, end: u64, lines: usize) -> io::Result<(u64, usize)> {
    if lines == 0 || end == 0 {
        return Ok((end, 0));
    }
    let mut buffer = vec![0; usize::try_from(STEP).unwrap_or(1 << 16)];
    let mut at = end;
    let mut found = 0;
    while at > 0 {
        let start = at.saturating_sub(STEP);
        let piece = &mut buffer[..usize::try_from(at - start).unwrap_or(0)];
        file.read_exact_at(piece, start)?;
        for (index, _) in piece.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let position = start + index as u64;
            // A newline ends a line; the one at the very end begins none.
            if position + 1 == end {
                continue;
            }
            found += 1;
            if found == lines {
                return Ok((position + 1, lines));
            }
        }
        at = start;
    }
    Ok((0, found + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_last_lines_are_found_across_steps() {
        let mut file = tempfile::tempfile().unwrap();
        let mut offsets = vec![];
        let mut written = 0u64;
        for n in 0..5000 {
            offsets.push(written);
            let line = format!("line {n} {}\n", "x".repeat(n % 90));
            file.write_all(line.as_bytes()).unwrap();
            written += line.len() as u64;
        }
        for lines in [1, 2, 100, 4999, 5000] {
            assert_eq!(offset(&file, written, lines).unwrap(), (offsets[5000 - lines], lines));
        }
        assert_eq!(offset(&file, written, 6000).unwrap(), (0, 5000));
        assert_eq!(offset(&file, written, 0).unwrap(), (written, 0));
        assert_eq!(offset(&file, 0, 3).unwrap(), (0, 0));
    }
}
