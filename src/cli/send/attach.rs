//! Files to attach, read once before the first connection.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;

use crate::message::synthetic::Attachment;

/// A file in memory. Its content is never shown.
pub(super) struct AttachedFile {
    name: String,
    media_type: &'static str,
    bytes: Vec<u8>,
}

impl AttachedFile {
    /// Reads a file of at most [`FILE_BYTES_MAX`].
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("cannot attach {}", path.display());
        let file = File::open(path).with_context(context)?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .with_context(context)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            anyhow::bail!("cannot attach {}: more than {FILE_BYTES_MAX} bytes", path.display());
        }
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .with_context(context)?;
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        Ok(Self {
            name,
            media_type: media_type(extension.as_deref().unwrap_or_default()),
            bytes,
        })
    }

    /// The file as a part of a mail.
    pub(super) fn part(&self) -> Attachment<'_> {
        Attachment {
            name: &self.name,
            media_type: self.media_type,
            bytes: &self.bytes,
        }
    }
}

fn media_type(extension: &str) -> &'static str {
    let known = MEDIA_TYPES.iter().find(|(known, _)| *known == extension);
    known.map_or("application/octet-stream", |(_, media_type)| media_type)
}

/// What the field attaches.
const MEDIA_TYPES: [(&str, &str); 13] = [
    ("pdf", "application/pdf"),
    ("zip", "application/zip"),
    ("xml", "application/xml"),
    ("hl7", "application/hl7-v2"),
    ("json", "application/json"),
    ("txt", "text/plain"),
    ("csv", "text/csv"),
    ("rtf", "application/rtf"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
];
/// Four times the largest mail of the field.
const FILE_BYTES_MAX: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_name_and_bytes_and_gets_a_media_type() {
        let folder = tempfile::tempdir().unwrap();
        for (name, media_type) in [
            ("Synthèse.PDF", "application/pdf"),
            ("IHE_XDM.ZIP", "application/zip"),
            ("without", "application/octet-stream"),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, b"\0\xff\r\n.").unwrap();
            let file = AttachedFile::read(&path).unwrap();
            let part = file.part();
            assert_eq!(
                (part.name, part.media_type, part.bytes),
                (name, media_type, &b"\0\xff\r\n."[..])
            );
        }
    }

    #[test]
    fn a_missing_file_or_a_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path().join("absent.pdf"), folder.path().to_owned()] {
            let error = AttachedFile::read(&path).err().unwrap().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
    }
}
