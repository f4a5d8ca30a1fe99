//! Reads the running kernel's BTF: where structures keep their fields, and how many arguments a tracepoint has.
//!
//! Rust has no compile-once relocations, so that field offsets are looked up here and given to the programs as
//! constants. Total on any input: a malformed table is an error, a field that is not there is `None`.

use std::collections::HashMap;
use std::path::Path;

/// Where the kernel shows its own types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
/// Anonymous members nest a few levels in practice; a loop in the table must not hang us.
const MAX_NESTING: u32 = 16;

/// Why the kernel's types could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file is missing or unreadable.
    #[error("cannot read {path}: the kernel must be built with CONFIG_DEBUG_INFO_BTF=y")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The table is not what the format says.
    #[error("malformed BTF: {0}")]
    Malformed(&'static str),
}

struct Member {
    name: u32,
    type_id: u32,
    bit_offset: u32,
}

enum Type {
    Composite {
        name: u32,
        members: std::ops::Range<usize>,
    },
    Alias {
        name: u32,
        target: u32,
    },
    FunctionPrototype {
        arguments: u32,
    },
    Other,
}

/// The types of a kernel.
pub struct Btf {
    types: Vec<Type>,
    members: Vec<Member>,
    strings: Vec<u8>,
    by_name: HashMap<Box<[u8]>, u32>,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u32(&mut self) -> Result<u32, BtfError> {
        let word = self
            .bytes
            .get(self.at..self.at + 4)
            .ok_or(BtfError::Malformed("truncated type section"))?;
        self.at += 4;
        Ok(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
    }

    fn skip(&mut self, words: u32) -> Result<(), BtfError> {
        self.at = usize::try_from(words)
            .ok()
            .and_then(|words| words.checked_mul(4))
            .and_then(|bytes| self.at.checked_add(bytes))
            .filter(|at| *at <= self.bytes.len())
            .ok_or(BtfError::Malformed("a type reaches past the section"))?;
        Ok(())
    }
}

impl Btf {
    /// Reads the running kernel's types.
    pub fn from_kernel() -> Result<Self, BtfError> {
        Self::from_file(Path::new(VMLINUX))
    }

    /// Reads a file of types.
    pub fn from_file(path: &Path) -> Result<Self, BtfError> {
        let bytes = std::fs::read(path).map_err(|source| BtfError::Read {
            path: path.display().to_string(),
            source,
        })?;
        Self::parse(&bytes)
    }

    /// Parses a table.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        let header = bytes.get(..24).ok_or(BtfError::Malformed("no header"))?;
        if u16::from_le_bytes([header[0], header[1]]) != MAGIC {
            return Err(BtfError::Malformed("wrong magic or byte order"));
        }
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize
        };
        let section = |offset: usize, len: usize| {
            let start = word(4)
                .checked_add(offset)
                .ok_or(BtfError::Malformed("section offset"))?;
            let end = start
                .checked_add(len)
                .ok_or(BtfError::Malformed("section length"))?;
            bytes
                .get(start..end)
                .ok_or(BtfError::Malformed("a section reaches past the end"))
        };
        let strings = section(word(16), word(20))?.to_vec();
        let mut btf = Self {
            types: vec![Type::Other],
            members: Vec::new(),
            strings,
            by_name: HashMap::new(),
        };
        btf.read_types(section(word(8), word(12))?)?;
        Ok(btf)
    }

    fn read_types(&mut self, section: &[u8]) -> Result<(), BtfError> {
        let mut reader = Reader {
            bytes: section,
            at: 0,
        };
        while reader.at < section.len() {
            let (name, info, size_or_type) = (reader.u32()?, reader.u32()?, reader.u32()?);
            let entries = info & 0xffff;
            let bitfields = info >> 31 != 0;
            let this = match info >> 24 & 0x1f {
                // Int, variable, declaration tag: one further word.
                1 | 14 | 17 => {
                    reader.skip(1)?;
                    Type::Other
                }
                2 | 7 | 12 | 16 => Type::Other,
                // Array.
                3 => {
                    reader.skip(3)?;
                    Type::Other
                }
                // Struct, union.
                4 | 5 => {
                    let from = self.members.len();
                    for _ in 0..entries {
                        let (name, type_id, offset) = (reader.u32()?, reader.u32()?, reader.u32()?);
                        let bit_offset = if bitfields { offset & 0x00ff_ffff } else { offset };
                        self.members.push(Member {
                            name,
                            type_id,
                            bit_offset,
                        });
                    }
                    Type::Composite {
                        name,
                        members: from..self.members.len(),
                    }
                }
                // Enum: two words an entry.
                6 => {
                    reader.skip(entries * 2)?;
                    Type::Other
                }
                // Typedef, volatile, const, restrict, type tag.
                8..=11 | 18 => Type::Alias {
                    name,
                    target: size_or_type,
                },
                // Function prototype.
                13 => {
                    reader.skip(entries * 2)?;
                    Type::FunctionPrototype { arguments: entries }
                }
                // Data section, 64-bit enum: three words an entry.
                15 | 19 => {
                    reader.skip(entries * 3)?;
                    Type::Other
                }
                _ => return Err(BtfError::Malformed("unknown type kind")),
            };
            let id = u32::try_from(self.types.len()).map_err(|_| BtfError::Malformed("too many types"))?;
            // Pointers are looked through like aliases.
            let this = if info >> 24 & 0x1f == 2 {
                Type::Alias {
                    name: 0,
                    target: size_or_type,
                }
            } else {
                this
            };
            if let Type::Composite { name, .. } | Type::Alias { name, .. } = &this
                && *name != 0
            {
                let text: Box<[u8]> = self.string(*name).into();
                self.by_name.entry(text).or_insert(id);
            }
            self.types.push(this);
        }
        Ok(())
    }

    fn string(&self, at: u32) -> &[u8] {
        let rest = self.strings.get(at as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn type_of(&self, id: u32) -> Option<&Type> {
        self.types.get(id as usize)
    }

    /// Byte offset of `structure.member`, through anonymous structs and unions.
    #[must_use]
    pub fn offset_of(&self, structure: &str, member: &str) -> Option<u32> {
        let id = *self.by_name.get(structure.as_bytes())?;
        self.bit_offset(id, member.as_bytes(), 0).map(|bits| bits / 8)
    }

    fn bit_offset(&self, id: u32, wanted: &[u8], nesting: u32) -> Option<u32> {
        if nesting > MAX_NESTING {
            return None;
        }
        let Type::Composite { members, .. } = self.type_of(id)? else {
            return None;
        };
        let members = self.members.get(members.clone())?;
        members.iter().find_map(|member| {
            if self.string(member.name) == wanted {
                return Some(member.bit_offset);
            }
            if member.name != 0 {
                return None;
            }
            self.bit_offset(self.unaliased(member.type_id), wanted, nesting + 1)
                .and_then(|inner| inner.checked_add(member.bit_offset))
        })
    }

    fn unaliased(&self, mut id: u32) -> u32 {
        for _ in 0..MAX_NESTING {
            match self.type_of(id) {
                Some(Type::Alias { target, .. }) => id = *target,
                _ => break,
            }
        }
        id
    }

    /// How many arguments the tracepoint `name` passes to a program.
    #[must_use]
    pub fn tracepoint_arguments(&self, name: &str) -> Option<u32> {
        let typedef = *self.by_name.get(format!("btf_trace_{name}").as_bytes())?;
        match self.type_of(self.unaliased(typedef))? {
            // The first argument is the tracepoint's private data.
            Type::FunctionPrototype { arguments } => arguments.checked_sub(1),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parse_of_any_bytes_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..512), magic: bool) {
            if magic && bytes.len() >= 24 {
                bytes[..2].copy_from_slice(&MAGIC.to_le_bytes());
                bytes[4..8].copy_from_slice(&24_u32.to_le_bytes());
                bytes[8..12].copy_from_slice(&0_u32.to_le_bytes());
                let rest = u32::try_from(bytes.len() - 24).unwrap();
                bytes[12..16].copy_from_slice(&rest.to_le_bytes());
                bytes[16..24].fill(0);
            }
            if let Ok(btf) = Btf::parse(&bytes) {
                prop_assert_eq!(btf.offset_of("task_struct", "tgid"), None);
            }
        }
    }

    #[test]
    fn running_kernel_has_the_fields_that_every_hook_needs() {
        let Ok(btf) = Btf::from_kernel() else {
            assert!(
                std::env::var_os("CI").is_none(),
                "no BTF of the running kernel at {VMLINUX}"
            );
            eprintln!("SKIPPED: no BTF of the running kernel");
            return;
        };
        for (structure, member) in [
            ("task_struct", "tgid"),
            ("mm_struct", "exe_file"),
            ("sock_common", "skc_daddr"),
        ] {
            assert!(btf.offset_of(structure, member).is_some(), "{structure}.{member}");
        }
        assert_eq!(btf.tracepoint_arguments("sched_process_exec"), Some(3));
    }
}
