//! Maps of sparse files: where in the file the pieces are that the archive has.

use std::io::BufRead;

use containerd_rs_core::Result;
use tar::{GnuExtSparseHeader, GnuSparseHeader, Header};

use super::pax::{self, MAX_MAP};
use super::reader::{TarReader, invalid, truncated};

/// Pieces in order, and the size of the whole file.
pub(crate) struct Map {
    pub(crate) pieces: Vec<(u64, u64)>,
    pub(crate) size: u64,
}

impl Map {
    fn new(size: u64) -> Self {
        Map {
            pieces: Vec::new(),
            size,
        }
    }

    fn add(&mut self, offset: u64, length: u64) -> Result<()> {
        let before = self.pieces.last().map_or(0, |(offset, length)| offset + length);
        let end = offset
            .checked_add(length)
            .filter(|end| offset >= before && *end <= self.size);
        if end.is_none() || self.pieces.len() >= MAX_MAP {
            return Err(invalid("sparse map"));
        }
        self.pieces.push((offset, length));
        Ok(())
    }

    fn add_all(mut self, numbers: &[u64]) -> Result<Self> {
        for pair in numbers.chunks(2) {
            let [offset, length] = pair else {
                return Err(invalid("sparse map"));
            };
            self.add(*offset, *length)?;
        }
        Ok(self)
    }

    /// The pieces are just what the archive has.
    pub(crate) fn check(self, stored: u64) -> Result<Self> {
        let all = self.pieces.iter().map(|(_, length)| length).sum::<u64>();
        if all == stored {
            Ok(self)
        } else {
            Err(invalid("sparse map"))
        }
    }
}

impl<R: BufRead> TarReader<R> {
    /// The map of an old GNU sparse file: four pieces in the header, then blocks of 21. They are not part of the data.
    pub(super) fn gnu_map(&mut self, header: &Header) -> Result<Map> {
        let gnu = header.as_gnu().ok_or_else(|| invalid("sparse"))?;
        let mut map = Map::new(gnu.real_size().map_err(|_| invalid("sparse size"))?);
        let mut add = |piece: &GnuSparseHeader| {
            if piece.is_empty() {
                return Ok(());
            }
            let offset = piece.offset().map_err(|_| invalid("sparse offset"))?;
            map.add(offset, piece.length().map_err(|_| invalid("sparse length"))?)
        };
        gnu.sparse.iter().try_for_each(&mut add)?;
        let mut more = gnu.is_extended();
        while more {
            let block = self.block()?.ok_or_else(truncated)?;
            let mut extension = GnuExtSparseHeader::new();
            extension.as_mut_bytes().copy_from_slice(&block);
            extension.sparse().iter().try_for_each(&mut add)?;
            more = extension.is_extended();
        }
        Ok(map)
    }

    /// The map of a sparse file in PAX records, or before the data: then it is taken from the data.
    pub(super) fn pax_map(&mut self, told: &pax::PaxSparse) -> Result<Map> {
        if !told.in_data {
            return Map::new(told.size).add_all(&told.map);
        }
        let mut taken = 0;
        let count = usize::try_from(self.line(&mut taken)?).unwrap_or(usize::MAX);
        if count > MAX_MAP / 2 {
            return Err(invalid("sparse map"));
        }
        let numbers = (0..count * 2)
            .map(|_| self.line(&mut taken))
            .collect::<Result<Vec<_>>>()?;
        let mut padding = taken.wrapping_neg() % 512;
        while padding > 0 {
            let n = self.data()?.len().min(padding);
            if n == 0 {
                return Err(invalid("sparse map"));
            }
            self.consume(n);
            padding -= n;
        }
        Map::new(told.size).add_all(&numbers)
    }

    /// A decimal number on a line of its own in the data.
    fn line(&mut self, taken: &mut usize) -> Result<u64> {
        let mut digits = Vec::new();
        loop {
            let byte = *self.data()?.first().ok_or_else(|| invalid("sparse map"))?;
            self.consume(1);
            *taken += 1;
            match byte {
                b'\n' => return pax::number(&digits),
                byte if digits.len() < 20 => digits.push(byte),
                _ => return Err(invalid("sparse map")),
            }
        }
    }
}
