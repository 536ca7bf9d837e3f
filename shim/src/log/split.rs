//! Cuts a stream of bytes into the records of a log.

use super::{PART, Timestamp};

/// One stream's unfinished line. Holds at most [`PART`] bytes, and no memory while there is none.
#[derive(Debug, Default)]
pub struct Splitter {
    pending: Vec<u8>,
    /// When the line began of which parts are out already: all its parts carry that time.
    began: Option<Timestamp>,
}

impl Splitter {
    /// Takes bytes and hands out records: text, whether a newline ended it, and its time.
    pub fn push(&mut self, mut bytes: &[u8], mut record: impl FnMut(&[u8], bool, Timestamp)) {
        while !bytes.is_empty() {
            let room = PART - self.pending.len();
            let window = &bytes[..bytes.len().min(room)];
            if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
                self.emit(&window[..end], true, &mut record);
                bytes = &bytes[end + 1..];
            } else if window.len() == room {
                self.emit(window, false, &mut record);
                bytes = &bytes[room..];
            } else {
                self.pending.extend_from_slice(window);
                return;
            }
        }
    }

    /// Hands out what is left when the stream ends; as Docker has it, without a newline.
    pub fn finish(&mut self, mut record: impl FnMut(&[u8], bool, Timestamp)) {
        if !self.pending.is_empty() {
            self.emit(&[], false, &mut record);
        }
    }

    fn emit(&mut self, tail: &[u8], newline: bool, record: &mut impl FnMut(&[u8], bool, Timestamp)) {
        let time = self.began.unwrap_or_else(Timestamp::now);
        self.began = (!newline).then_some(time);
        if self.pending.is_empty() {
            record(tail, newline, time);
        } else {
            self.pending.extend_from_slice(tail);
            record(&self.pending, newline, time);
            self.pending = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn records(chunks: &[&[u8]]) -> Vec<(Vec<u8>, bool, Timestamp)> {
        let mut splitter = Splitter::default();
        let mut out = Vec::new();
        for chunk in chunks {
            splitter.push(chunk, |text, newline, time| out.push((text.to_vec(), newline, time)));
        }
        splitter.finish(|text, newline, time| out.push((text.to_vec(), newline, time)));
        out
    }

    #[test]
    fn lines_across_reads_and_a_last_one_without_newline() {
        let out = records(&[b"a\n\nb", b"c\nd", b"e"]);
        let shown: Vec<_> = out
            .iter()
            .map(|(text, newline, _)| (text.as_slice(), *newline))
            .collect();
        assert_eq!(shown, [(&b"a"[..], true), (b"", true), (b"bc", true), (b"de", false)]);
    }

    #[test]
    fn long_lines_are_cut_and_keep_their_time() {
        let long = vec![b'x'; 2 * PART + 5];
        let out = records(&[&long[..100], &long[100..], b"\ny\n"]);
        let shown: Vec<_> = out.iter().map(|(text, newline, _)| (text.len(), *newline)).collect();
        assert_eq!(shown, [(PART, false), (PART, false), (5, true), (1, true)]);
        assert!(out[0].2 == out[1].2 && out[1].2 == out[2].2);
    }

    #[test]
    fn a_line_of_just_the_size_gets_its_newline_in_a_record_of_its_own() {
        let mut line = vec![b'x'; PART];
        line.push(b'\n');
        let shown: Vec<_> = records(&[&line])
            .iter()
            .map(|(text, newline, _)| (text.len(), *newline))
            .collect();
        assert_eq!(shown, [(PART, false), (0, true)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn no_byte_is_lost_however_it_comes(chunks in prop::collection::vec(prop::collection::vec(prop_oneof![3 => Just(b'a'), 1 => Just(b'\n')], 0..9000), 0..6)) {
            let slices: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let mut joined = Vec::new();
            for (text, newline, _) in records(&slices) {
                joined.extend(text);
                if newline {
                    joined.push(b'\n');
                }
            }
            prop_assert_eq!(joined, chunks.concat());
        }
    }
}
