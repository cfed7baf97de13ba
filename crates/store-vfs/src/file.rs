//! One open file: ours, with the one of the VFS below directly behind it in the memory that SQLite gives for both.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::slice;

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods};

use super::gather::Run;
use super::vfs::{Layer, Shared, path};
use super::{Change, Failure, Verdict};

/// What SQLite holds as a `sqlite3_file`. C layout, the methods first.
#[repr(C)]
pub(crate) struct Layered {
    file: sqlite3_file,
    shared: &'static Shared,
    /// SQLite keeps it until the file is closed; null for a temporary file.
    name: *const c_char,
    /// Of a file whose writes are gathered; ours, and null for any other.
    run: *mut Run,
    /// Of a file that is synced bit by bit: bytes written since the last sync.
    unsynced: Option<usize>,
}

/// The file of the VFS below, behind ours.
///
/// # Safety
/// `file` points to room for a [`Layered`] and a file of the VFS below.
pub(crate) unsafe fn under(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: within that room; the size of `Layered` keeps the alignment (asserted beside `register`).
    unsafe { file.cast::<Layered>().add(1).cast() }
}

/// Makes an opened file ours.
///
/// # Safety
/// `layered` points to the room that SQLite gave to `xOpen`, `name` and `flags` are what came with it.
pub(crate) unsafe fn start(layered: *mut Layered, shared: &'static Shared, name: *const c_char, flags: c_int) {
    let (is_log, is_database) = (flags & ffi::SQLITE_OPEN_WAL != 0, flags & ffi::SQLITE_OPEN_MAIN_DB != 0);
    let run = if is_log && matches!(shared.layer, Layer::Gathers) {
        Box::into_raw(Box::default())
    } else {
        ptr::null_mut()
    };
    let is_paced = is_database && matches!(shared.layer, Layer::Paces);
    // SAFETY: the room is ours to write.
    unsafe {
        layered.write(Layered {
            file: sqlite3_file {
                pMethods: &raw const METHODS,
            },
            shared,
            name,
            run,
            unsynced: is_paced.then_some(0),
        });
    }
}

/// Version 2: with the shared memory of the write-ahead log, without memory-mapped reading.
static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// Calls a method of the file below, and gives `$otherwise` where it has none.
macro_rules! hand_on {
    ($method:ident, $otherwise:expr, $file:expr $(, $argument:expr)*) => {{
        // SAFETY: SQLite calls methods of open files only, whose room `open` filled; arguments are handed on as they came.
        unsafe {
            let file = under($file);
            match (*(*file).pMethods).$method {
                Some(method) => method(file $(, $argument)*),
                None => $otherwise,
            }
        }
    }};
}

/// What the watcher says of a change of this file.
///
/// # Safety
/// `file` was made by [`start`] and is not closed.
unsafe fn ask(file: *mut sqlite3_file, change: Change<'_>) -> Verdict {
    // SAFETY: said by the caller; SQLite keeps the name as long as the file is open.
    unsafe {
        let layered = &*file.cast::<Layered>();
        match &layered.shared.layer {
            Layer::Asks(watcher) if !layered.name.is_null() => watcher.change(path(layered.name), change),
            _ => Verdict::Make,
        }
    }
}

/// What is gathered of this file, if its writes are.
///
/// # Safety
/// `file` was made by [`start`] and is not closed. SQLite uses a file from one thread at a time, and each method takes this once.
unsafe fn gathered<'a>(file: *mut sqlite3_file) -> Option<&'a mut Run> {
    // SAFETY: said by the caller; `run` is null or came from a box that only `close` takes back.
    unsafe { (*file.cast::<Layered>()).run.as_mut() }
}

/// Gives what is gathered to the VFS below. When that fails it stays: unless SQLite rolls back for it, the transaction counts on what is in it.
///
/// # Safety
/// As for [`gathered`].
unsafe fn hand_over(file: *mut sqlite3_file) -> c_int {
    // SAFETY: said by the caller.
    let Some(run) = (unsafe { gathered(file) }) else {
        return ffi::SQLITE_OK;
    };
    let mut offset = run.start();
    for piece in run.bytes().chunks(PIECE_BYTES_MAX) {
        let (Ok(length), Ok(at)) = (c_int::try_from(piece.len()), sqlite3_int64::try_from(offset)) else {
            return ffi::SQLITE_IOERR_WRITE;
        };
        let from = piece.as_ptr().cast::<c_void>();
        let code = hand_on!(xWrite, ffi::SQLITE_IOERR_WRITE, file, from, length, at);
        if code != ffi::SQLITE_OK {
            return code;
        }
        offset = offset.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
    }
    run.clear();
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // What is still gathered belongs to no commit.
    let code = hand_on!(xClose, ffi::SQLITE_OK, file);
    // SAFETY: the room is still ours, and `run` came from a box; from here on nobody may call a method.
    unsafe {
        let layered = file.cast::<Layered>();
        if !(*layered).run.is_null() {
            drop(Box::from_raw((*layered).run));
            (*layered).run = ptr::null_mut();
        }
        (*file).pMethods = ptr::null();
    }
    code
}

unsafe extern "C" fn read(file: *mut sqlite3_file, into: *mut c_void, length: c_int, offset: sqlite3_int64) -> c_int {
    // What a transaction left that was rolled back is never read, and must not keep anything else from being read while the disk is full.
    let (at, bytes) = (u64::try_from(offset).unwrap_or(0), u64::try_from(length).unwrap_or(0));
    // SAFETY: as in `hand_on`.
    let is_gathered = unsafe { gathered(file) }.is_some_and(|run| run.overlaps(at, bytes));
    let handed_over = if is_gathered {
        // SAFETY: the same.
        unsafe { hand_over(file) }
    } else {
        ffi::SQLITE_OK
    };
    match handed_over {
        ffi::SQLITE_OK => hand_on!(xRead, ffi::SQLITE_IOERR_READ, file, into, length, offset),
        code => code,
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    length: c_int,
    offset: sqlite3_int64,
) -> c_int {
    let (Ok(bytes), Ok(at)) = (usize::try_from(length), u64::try_from(offset)) else {
        return ffi::SQLITE_IOERR_WRITE;
    };
    // SAFETY: SQLite gives `length` readable bytes at `from`, for the time of this call.
    let bytes = unsafe { slice::from_raw_parts(from.cast::<u8>(), bytes) };
    // SAFETY: as in `hand_on`.
    if unsafe { gathered(file) }.is_some() {
        // SAFETY: the same.
        return unsafe { gather(file, at, bytes) };
    }
    // SAFETY: as in `hand_on`.
    match unsafe { ask(file, Change::Write { offset: at, bytes }) } {
        Verdict::Make => match hand_on!(xWrite, ffi::SQLITE_IOERR_WRITE, file, from, length, offset) {
            // SAFETY: the same.
            ffi::SQLITE_OK => unsafe { pace(file, bytes.len()) },
            code => code,
        },
        Verdict::Pretend => ffi::SQLITE_OK,
        Verdict::Short(made, failure) => {
            let made = c_int::try_from(made).unwrap_or(length).min(length);
            if made > 0 {
                // What this part answers does not matter: the whole has failed.
                hand_on!(xWrite, ffi::SQLITE_IOERR_WRITE, file, from, made, offset);
            }
            code(failure, ffi::SQLITE_IOERR_WRITE)
        }
        Verdict::Fail(failure) => code(failure, ffi::SQLITE_IOERR_WRITE),
    }
}

/// Syncs a file that is synced bit by bit when enough has been written to it.
///
/// # Safety
/// As for [`gathered`].
unsafe fn pace(file: *mut sqlite3_file, written: usize) -> c_int {
    // SAFETY: said by the caller.
    let Some(unsynced) = (unsafe { (*file.cast::<Layered>()).unsynced.as_mut() }) else {
        return ffi::SQLITE_OK;
    };
    *unsynced = unsynced.saturating_add(written);
    if *unsynced < PACE_BYTES {
        return ffi::SQLITE_OK;
    }
    *unsynced = 0;
    hand_on!(xSync, ffi::SQLITE_IOERR_FSYNC, file, ffi::SQLITE_SYNC_NORMAL)
}

/// # Safety
/// As for [`gathered`].
unsafe fn gather(file: *mut sqlite3_file, offset: u64, bytes: &[u8]) -> c_int {
    // SAFETY: said by the caller.
    let is_next = unsafe { gathered(file) }.is_some_and(|run| run.is_followed_by(offset, bytes.len()));
    if !is_next {
        // SAFETY: the same.
        let code = unsafe { hand_over(file) };
        if code != ffi::SQLITE_OK {
            // SQLite rolls the whole transaction back, and what comes next is to have a chance where this had none.
            // SAFETY: the same.
            if let Some(run) = unsafe { gathered(file) } {
                run.clear();
            }
            return code;
        }
    }
    // SAFETY: the same.
    if let Some(run) = unsafe { gathered(file) } {
        run.push(offset, bytes);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    // SAFETY: as in `hand_on`.
    let handed_over = unsafe { hand_over(file) };
    if handed_over != ffi::SQLITE_OK {
        return handed_over;
    }
    let length = u64::try_from(size).unwrap_or(0);
    // SAFETY: as in `hand_on`.
    match unsafe { ask(file, Change::Truncate { length }) } {
        Verdict::Make => hand_on!(xTruncate, ffi::SQLITE_IOERR_TRUNCATE, file, size),
        Verdict::Pretend => ffi::SQLITE_OK,
        Verdict::Short(_, failure) | Verdict::Fail(failure) => code(failure, ffi::SQLITE_IOERR_TRUNCATE),
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: as in `hand_on`.
    let is_of_commit = flags == ffi::SQLITE_SYNC_NORMAL && unsafe { gathered(file) }.is_some_and(|run| run.is_frames());
    // SAFETY: as in `hand_on`.
    let handed_over = unsafe { hand_over(file) };
    if handed_over != ffi::SQLITE_OK {
        // SQLite takes the commit back, and nothing may bring it to the disk any more.
        // SAFETY: as in `hand_on`.
        if let Some(run) = unsafe { gathered(file) } {
            run.clear();
        }
        return handed_over;
    }
    if is_of_commit {
        return ffi::SQLITE_OK;
    }
    let handle = file.addr();
    // SAFETY: as in `hand_on`.
    match unsafe { ask(file, Change::Sync { handle }) } {
        Verdict::Make => hand_on!(xSync, ffi::SQLITE_IOERR_FSYNC, file, flags),
        Verdict::Pretend => ffi::SQLITE_OK,
        Verdict::Short(_, failure) | Verdict::Fail(failure) => code(failure, ffi::SQLITE_IOERR_FSYNC),
    }
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, out: *mut sqlite3_int64) -> c_int {
    // SAFETY: as in `hand_on`.
    match unsafe { hand_over(file) } {
        ffi::SQLITE_OK => hand_on!(xFileSize, ffi::SQLITE_IOERR_FSTAT, file, out),
        code => code,
    }
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    hand_on!(xLock, ffi::SQLITE_IOERR_LOCK, file, level)
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    hand_on!(xUnlock, ffi::SQLITE_IOERR_UNLOCK, file, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, out: *mut c_int) -> c_int {
    hand_on!(xCheckReservedLock, ffi::SQLITE_IOERR_CHECKRESERVEDLOCK, file, out)
}

unsafe extern "C" fn file_control(file: *mut sqlite3_file, operation: c_int, argument: *mut c_void) -> c_int {
    // What would grow the file outside `write` is declined: SQLite then writes instead.
    if operation == ffi::SQLITE_FCNTL_SIZE_HINT || operation == ffi::SQLITE_FCNTL_CHUNK_SIZE {
        return ffi::SQLITE_NOTFOUND;
    }
    hand_on!(xFileControl, ffi::SQLITE_NOTFOUND, file, operation, argument)
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    hand_on!(xSectorSize, 0, file)
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    hand_on!(xDeviceCharacteristics, 0, file)
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    region: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    hand_on!(xShmMap, ffi::SQLITE_IOERR_SHMMAP, file, region, size, extend, out)
}

unsafe extern "C" fn shm_lock(file: *mut sqlite3_file, offset: c_int, count: c_int, flags: c_int) -> c_int {
    hand_on!(xShmLock, ffi::SQLITE_IOERR_SHMLOCK, file, offset, count, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    hand_on!(xShmBarrier, (), file);
}

unsafe extern "C" fn shm_unmap(file: *mut sqlite3_file, delete: c_int) -> c_int {
    hand_on!(xShmUnmap, ffi::SQLITE_OK, file, delete)
}

fn code(failure: Failure, device: c_int) -> c_int {
    match failure {
        Failure::Device => device,
        Failure::Full => ffi::SQLITE_FULL,
    }
}

/// SQLite's file layer for Unix takes the length of a write modulo 128 KiB: its own writes are pages, which have 64 KiB at most.
const PIECE_BYTES_MAX: usize = 124 << 10;
/// What a database gets between two syncs of one that is synced bit by bit.
const PACE_BYTES: usize = 1 << 20;
