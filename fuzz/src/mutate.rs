//! A simple mutator: bits, bytes, numbers, pieces of other inputs, words of the formats.

/// Changes inputs in ways that follow from a seed alone.
#[derive(Debug, Clone)]
pub struct Mutator(u64);

/// What the formats are made of, and numbers at their edges.
const WORDS: [&str; 32] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "-1",
    "0",
    "4294967295",
    "4294967296",
    "18446744073709551615",
    "9223372036854775807",
    "1e99",
    "\"\"",
    "/",
    "..",
    "/../",
    "\0",
    "\n",
    "max",
    "=",
    "a *:* rwm",
    "SCMP_ACT_NOTIFY",
    "SCMP_CMP_MASKED_EQ",
    "rbind",
    "idmap=uids=0-1-2",
    "\u{fffd}",
    "@sha256:",
    "\\u0000",
    "  ",
];

impl Mutator {
    /// One that starts at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        if end == 0 {
            0
        } else {
            (self.next() % end as u64) as usize
        }
    }

    /// One of `corpus`, changed in one to four places. Empty for an empty corpus.
    pub fn mutant(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let at = self.below(corpus.len());
        let Some(mut input) = corpus.get(at).cloned() else {
            return Vec::new();
        };
        for _ in 0..=self.below(4) {
            self.change(&mut input, corpus);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = (at + self.below(24)).min(input.len());
        match self.below(6) {
            0 => {
                let bit = 1 << self.below(8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= bit;
                }
            }
            1 => {
                input.drain(at..end);
            }
            2 => {
                let piece = input.get(at..end).unwrap_or_default().to_vec();
                let place = self.below(input.len() + 1);
                input.splice(place..place, piece);
            }
            3 => {
                let other = corpus.get(self.below(corpus.len())).map_or(&[][..], Vec::as_slice);
                let from = self.below(other.len());
                let to = (from + self.below(64)).min(other.len());
                input.splice(at..end, other.get(from..to).unwrap_or_default().iter().copied());
            }
            // A number or word in the place of another.
            4 => {
                let word = WORDS[self.below(WORDS.len())];
                let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
                let length = input
                    .get(at..)
                    .unwrap_or_default()
                    .iter()
                    .take_while(|byte| is_part(byte))
                    .count();
                input.splice(at..at + length, word.bytes());
            }
            _ => {
                let word = WORDS[self.below(WORDS.len())];
                input.splice(at..at, word.bytes());
            }
        }
    }
}
