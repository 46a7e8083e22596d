//! Extended attributes.

use pack_schemas::squashfs::{
    AttributeKey, AttributeSet, AttributeTable, NAME_LIMIT, Reference, Table, XATTR_VALUE_LIMIT,
};

use super::metadata::{Cursor, Stretch};
use super::{ImageError, Node, Reader};

/// Longest list of names in bytes, with a NUL after each (`XATTR_LIST_MAX` of Linux).
const LIST_LIMIT: usize = 65_536;

impl Reader {
    /// Whether any inode may have extended attributes.
    ///
    /// # Errors
    /// [`ImageError`] where the attribute table's header cannot be read.
    pub fn has_attributes(&self) -> Result<bool, ImageError> {
        Ok(self.attribute_table()?.is_some())
    }

    /// The names of a node's attributes, a NUL after each, as listxattr(2) gives them.
    ///
    /// # Errors
    /// [`ImageError`] where they cannot be read, or are longer than Linux allows.
    pub fn attribute_names(&self, node: &Node) -> Result<Vec<u8>, ImageError> {
        let mut list = Vec::new();
        self.attributes(node, |table, name, _, _| {
            list.extend_from_slice(name);
            list.push(0);
            match list.len() {
                ..=LIST_LIMIT => Ok(true),
                _ => {
                    Err(ImageError::malformed(table.values, "attribute table", "a list of names is too long"))
                }
            }
        })?;
        Ok(list)
    }

    /// The value of the attribute `name` (with its prefix, such as `user.`), if the node has it.
    ///
    /// # Errors
    /// [`ImageError`] where it cannot be read, or is longer than Linux allows.
    pub fn attribute(&self, node: &Node, name: &[u8]) -> Result<Option<Vec<u8>>, ImageError> {
        let mut found = None;
        self.attributes(node, |table, this, elsewhere, cursor| {
            if this == name {
                found = Some(self.value(table, elsewhere, cursor)?);
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    /// Calls `visit` for each attribute, with the cursor at its value, until it returns false.
    fn attributes(
        &self,
        node: &Node,
        mut visit: impl FnMut(&AttributeTable, &[u8], bool, &Cursor<'_>) -> Result<bool, ImageError>,
    ) -> Result<(), ImageError> {
        let (Some(number), Some(table)) = (node.inode.attributes, self.attribute_table()?) else {
            return Ok(());
        };
        let malformed = |rule| ImageError::malformed(table.values, "attribute table", rule);
        let entry: [u8; Table::ATTRIBUTE_SET_SIZE] = self
            .blocks
            .table_entry(&table.sets, u64::from(number))?
            .ok_or(malformed("an inode's set is not there"))?;
        let format = |error| ImageError::Format { offset: table.values, error };
        let set = AttributeSet::parse(&entry).map_err(format)?;
        let mut cursor = Cursor::at(&self.blocks, values(&table), set.first)?;
        let mut name = [0; NAME_LIMIT];
        for _ in 0..set.count {
            let bytes: [u8; AttributeKey::SIZE] = cursor.take()?;
            let key = AttributeKey::parse(&bytes).map_err(format)?;
            let prefix = key.prefix.len();
            // AttributeKey::parse bounds prefix and name to NAME_LIMIT together.
            name[..prefix].copy_from_slice(key.prefix.as_bytes());
            cursor.read_exact(&mut name[prefix..prefix + key.name_size])?;
            let name = &name[..prefix + key.name_size];
            if name.contains(&0) {
                return Err(malformed("an attribute's name contains NUL"));
            }
            if !visit(&table, name, key.value_elsewhere, &cursor)? {
                return Ok(());
            }
            let size = u32::from_le_bytes(cursor.take()?);
            cursor.skip(u64::from(size))?;
        }
        Ok(())
    }

    /// The value that `cursor` stands at.
    fn value(
        &self,
        table: &AttributeTable,
        elsewhere: bool,
        cursor: &Cursor<'_>,
    ) -> Result<Vec<u8>, ImageError> {
        let malformed = |rule| ImageError::malformed(table.values, "attribute table", rule);
        let mut cursor = Cursor::at_place(&self.blocks, values(table), cursor.place())?;
        let mut size = u32::from_le_bytes(cursor.take()?);
        if elsewhere {
            if size != 8 {
                return Err(malformed("a reference to a value has the wrong size"));
            }
            let raw = u64::from_le_bytes(cursor.take()?);
            let reference = Reference::from_raw(raw)
                .map_err(|error| ImageError::Format { offset: table.values, error })?;
            cursor = Cursor::at(&self.blocks, values(table), reference)?;
            size = u32::from_le_bytes(cursor.take()?);
        }
        if size > XATTR_VALUE_LIMIT {
            return Err(malformed("a value is too long"));
        }
        let mut value = vec![0; size as usize];
        cursor.read_exact(&mut value)?;
        Ok(value)
    }
}

/// Keys and values lie before the list of the blocks of sets.
fn values(table: &AttributeTable) -> Stretch {
    Stretch { start: table.values, end: table.sets.list }
}
