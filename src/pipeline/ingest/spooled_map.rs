//! A map of any size in bounded memory: a hash table with open addressing (Knuth, TAOCP 6.4, Algorithm L) in memory, and in a
//! temporary file once it is large.

use std::io::{self, Read, Seek, SeekFrom, Write};

use mfctl_core::domain::Sha256;
use mfctl_core::ports::{self, ErrorKind};
use tempfile::SpooledTempFile;

/// Bytes of a table that is in memory.
const MAX_MEMORY: usize = 4 * 1024 * 1024;
/// Records of a new table. A power of two, as that of every table.
const FIRST_CAPACITY: u64 = 1024;
/// Bytes of the digest that stands for a key.
const KEY_BYTES: usize = 16;
/// Bytes of a value.
pub(super) const VALUE_BYTES: usize = 48;
const RECORD_BYTES: usize = KEY_BYTES + VALUE_BYTES;

type Record = [u8; RECORD_BYTES];
/// What is no record: no digest of a key is all zeros.
const EMPTY: Record = [0; RECORD_BYTES];

/// The value of a key.
pub(super) type Value = [u8; VALUE_BYTES];

/// A map from bytes to values of a fixed size. Keys are told apart by the first 128 bits of their SHA-256.
pub(super) struct SpooledMap {
    table: SpooledTempFile,
    capacity: u64,
    used: u64,
}

impl SpooledMap {
    pub(super) fn new() -> ports::Result<Self> {
        Self::with_capacity(FIRST_CAPACITY).map_err(failed)
    }

    /// Adds an entry, unless the key has one: then that one's value is returned and stays.
    ///
    /// # Errors
    /// The temporary file cannot be read or written.
    pub(super) fn get_or_insert(&mut self, key: &[u8], value: &Value) -> ports::Result<Option<Value>> {
        let mut record = EMPTY;
        record[..KEY_BYTES].copy_from_slice(&Sha256::of(key).0[..KEY_BYTES]);
        record[KEY_BYTES..].copy_from_slice(value);
        self.grow_if_half_full().and_then(|()| self.put(&record)).map_err(failed)
    }

    fn with_capacity(capacity: u64) -> io::Result<Self> {
        let mut table = SpooledTempFile::new(MAX_MEMORY);
        table.set_len(capacity * RECORD_BYTES as u64)?;
        Ok(Self { table, capacity, used: 0 })
    }

    fn put(&mut self, record: &Record) -> io::Result<Option<Value>> {
        let (key, _) = record.split_at(KEY_BYTES);
        let hash = key.iter().take(8).fold(0, |hash: u64, byte| (hash << 8) | u64::from(*byte));
        let mut slot = hash & (self.capacity - 1);
        loop {
            let at = SeekFrom::Start(slot * RECORD_BYTES as u64);
            let mut found = EMPTY;
            self.table.seek(at)?;
            self.table.read_exact(&mut found)?;
            if found == EMPTY {
                self.table.seek(at)?;
                self.table.write_all(record)?;
                self.used += 1;
                return Ok(None);
            }
            if found[..KEY_BYTES] == *key {
                let mut value = [0; VALUE_BYTES];
                value.copy_from_slice(&found[KEY_BYTES..]);
                return Ok(Some(value));
            }
            slot = (slot + 1) & (self.capacity - 1);
        }
    }

    fn grow_if_half_full(&mut self) -> io::Result<()> {
        if self.used < self.capacity / 2 {
            return Ok(());
        }
        let mut larger = Self::with_capacity(self.capacity * 2)?;
        self.table.seek(SeekFrom::Start(0))?;
        let mut records = io::BufReader::new(&mut self.table);
        for _ in 0..self.capacity {
            let mut record = EMPTY;
            records.read_exact(&mut record)?;
            if record != EMPTY {
                larger.put(&record)?;
            }
        }
        *self = larger;
        Ok(())
    }
}

fn failed(error: io::Error) -> ports::Error {
    let kind = if error.kind() == io::ErrorKind::StorageFull { ErrorKind::Full } else { ErrorKind::Internal };
    ports::Error::new(kind, "remember the files of the job in a temporary file")
        .hint("set TMPDIR to a folder with room")
        .because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(number: u64) -> Value {
        let mut value = [0; VALUE_BYTES];
        value[..8].copy_from_slice(&number.to_le_bytes());
        value
    }

    #[test]
    fn the_first_value_of_a_key_stays() {
        let mut map = SpooledMap::new().unwrap();
        assert_eq!(map.get_or_insert(b"a\xff", &value(1)).unwrap(), None);
        assert_eq!(map.get_or_insert(b"a", &value(0)).unwrap(), None);
        assert_eq!(map.get_or_insert(b"a\xff", &value(3)).unwrap(), Some(value(1)));
        assert_eq!(map.get_or_insert(b"a", &value(3)).unwrap(), Some(value(0)));
    }

    #[test]
    fn what_memory_does_not_hold_is_found_again() {
        let mut map = SpooledMap::new().unwrap();
        let count = 2 * (MAX_MEMORY / RECORD_BYTES) as u64;
        for number in 0..count {
            assert_eq!(map.get_or_insert(&number.to_le_bytes(), &value(number)).unwrap(), None);
        }
        assert!(map.table.is_rolled());
        for number in (0..count).step_by(997) {
            assert_eq!(map.get_or_insert(&number.to_le_bytes(), &value(7)).unwrap(), Some(value(number)));
        }
    }
}
