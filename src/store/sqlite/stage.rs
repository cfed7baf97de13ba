//! A message too large for memory on its way into a file.
//!
//! The file starts with a hole of [`STAGE_FRONT_BYTES_MAX`]: the trace header, known only at the end of the data, is written
//! into its end, so that the data never moves. The content is the last `size_bytes` of the file.

use std::io::{ErrorKind, SeekFrom};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::spawn_blocking;

use super::health::Health;
use super::rows::failed;
use crate::store::blobs::{BlobName, Blobs};
use crate::store::{BodyFile, STAGE_FRONT_BYTES_MAX, Stage, StagedFile, StoreError};

/// A file in `incoming` that is removed unless it is finished.
pub(super) struct SqliteStage {
    /// `None` while a write is under way, or after one failed.
    file: Option<Box<dyn BodyFile>>,
    name: BlobName,
    /// Whether the file is somebody else's now.
    finished: bool,
    blobs: Arc<Blobs>,
    health: Arc<Health>,
    /// Over what was written and buffered.
    checksum: crc32fast::Hasher,
    /// Not yet written.
    buffer: Vec<u8>,
    /// Written and buffered.
    size_bytes: u64,
    /// Its place among those that hold a file open.
    _turn: Option<OwnedSemaphorePermit>,
}

impl SqliteStage {
    /// Starts a file.
    pub(super) async fn start(
        blobs: Arc<Blobs>,
        health: Arc<Health>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Result<Self, StoreError> {
        let started = blocking(move || {
            let (name, mut file) = blobs.create()?;
            file.seek(SeekFrom::Start(FRONT_BYTES))?;
            Ok((name, file, blobs))
        });
        let (name, file, blobs) = started.await?;
        blobs.stage_begins();
        Ok(Self {
            file: Some(file),
            name,
            finished: false,
            blobs,
            health,
            checksum: crc32fast::Hasher::new(),
            buffer: Vec::new(),
            size_bytes: 0,
            _turn: turn,
        })
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        let mut file = self.take_file()?;
        let buffer = std::mem::take(&mut self.buffer);
        let written = blocking(move || {
            file.write_all(&buffer)?;
            Ok((file, buffer))
        });
        let written = written.await;
        self.health.note(&written);
        let (file, mut buffer) = written?;
        buffer.clear();
        self.file = Some(file);
        // One that grew while there were few gives its room back when there are many.
        self.buffer = if buffer.capacity() > 2 * self.share() {
            Vec::new()
        } else {
            buffer
        };
        Ok(())
    }

    /// Bytes to collect: less for each, the more messages arrive at once.
    fn share(&self) -> usize {
        let share = self.blobs.stage_share(BUFFERS_BYTES);
        share.clamp(BUFFER_BYTES_MIN, BUFFER_BYTES)
    }

    fn take_file(&mut self) -> Result<Box<dyn BodyFile>, StoreError> {
        self.file
            .take()
            .ok_or_else(|| failed("a staged message", "an earlier write of it did not succeed"))
    }
}

#[async_trait]
impl Stage for SqliteStage {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.buffer.extend_from_slice(bytes);
        self.checksum.update(bytes);
        self.size_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if self.buffer.len() >= self.share() {
            self.flush().await?;
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>, front: &[u8]) -> Result<StagedFile, StoreError> {
        if front.len() > STAGE_FRONT_BYTES_MAX {
            return Err(failed("the trace header is too long", format!("{} bytes", front.len())));
        }
        let mut file = self.take_file()?;
        let buffer = std::mem::take(&mut self.buffer);
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(front);
        checksum.combine(&self.checksum);
        let front = front.to_vec();
        let front_bytes = u64::try_from(front.len()).unwrap_or(FRONT_BYTES);
        let written = blocking(move || {
            file.write_all(&buffer)?;
            file.seek(SeekFrom::Start(FRONT_BYTES - front_bytes))?;
            file.write_all(&front)?;
            // A message that is all front leaves the file as long as the reserve; any other is longer already.
            file.sync()
        })
        .await;
        self.health.note(&written);
        written?;
        self.finished = true;
        Ok(StagedFile {
            name: self.name.to_string(),
            size_bytes: self.size_bytes + front_bytes,
            checksum: Some(checksum.finalize()),
            guard: Some(Arc::new(Incoming::new(self.name, Arc::clone(&self.blobs)))),
        })
    }
}

impl Drop for SqliteStage {
    fn drop(&mut self) {
        self.blobs.stage_ends();
        if !self.finished {
            self.blobs.discard(self.name);
        }
    }
}

/// A file in `incoming`, removed with this value; once it was published there is nothing to remove.
struct Incoming {
    name: BlobName,
    blobs: Arc<Blobs>,
}

impl Incoming {
    fn new(name: BlobName, blobs: Arc<Blobs>) -> Self {
        Self { name, blobs }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.blobs.discard(self.name);
    }
}

/// Writes and syncs a message held in memory as a staged file.
pub(super) fn whole(blobs: &Arc<Blobs>, bytes: &[u8]) -> std::io::Result<StagedFile> {
    let name = blobs.write(bytes)?;
    Ok(StagedFile {
        name: name.to_string(),
        size_bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        checksum: Some(crc32fast::hash(bytes)),
        guard: Some(Arc::new(Incoming::new(name, Arc::clone(blobs)))),
    })
}

/// So many bytes, from an offset on, of the content of a staged file that waits for its acceptance.
pub(super) async fn part(
    blobs: Arc<Blobs>,
    staged: &StagedFile,
    (offset, length_max): (u64, usize),
) -> Result<Vec<u8>, StoreError> {
    let name: BlobName = staged
        .name
        .parse()
        .map_err(|error| failed("the name of a staged file", error))?;
    let left = staged.size_bytes.saturating_sub(offset);
    let length = usize::try_from(left).unwrap_or(usize::MAX).min(length_max);
    blocking(move || blobs.read_incoming(name, left, length)).await
}

/// Moves a staged file to its place; returns its name and where the content starts in it.
pub(super) fn publish(blobs: &Blobs, staged: &StagedFile) -> Result<(BlobName, u64), StoreError> {
    let name: BlobName = staged
        .name
        .parse()
        .map_err(|error| failed("the name of a staged file", error))?;
    let length = match blobs.publish(name) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(StoreError::NotFound { what: "staged file" }),
        other => other.map_err(|error| failed("a staged file could not be moved to its place", error))?,
    };
    let offset = length
        .checked_sub(staged.size_bytes)
        .ok_or_else(|| failed("a staged file", "it is shorter than it was when finished"))?;
    Ok((name, offset))
}

/// Runs file work on a thread that may block.
pub(super) async fn blocking<T, F>(work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce() -> std::io::Result<T> + Send + 'static,
{
    spawn_blocking(work)
        .await
        .map_err(|source| failed("work on a body file was interrupted", source))?
        .map_err(|source| failed("a body file", source))
}

/// As many bytes are collected before the file is written to.
const BUFFER_BYTES: usize = 256 * 1024;
/// What the buffers of all of them take together, while that leaves each [`BUFFER_BYTES_MIN`].
const BUFFERS_BYTES: usize = 16 * 1024 * 1024;
const BUFFER_BYTES_MIN: usize = 32 * 1024;
const FRONT_BYTES: u64 = STAGE_FRONT_BYTES_MAX as u64;
