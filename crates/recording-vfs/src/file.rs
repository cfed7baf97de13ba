//! One open file: ours, with the system's directly behind it in the memory that SQLite gives for both.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::slice;

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods};

use super::vfs::{Shared, path};
use super::{Change, Failure, Verdict};

/// What SQLite holds as a `sqlite3_file`. C layout, the methods first.
#[repr(C)]
pub(crate) struct Watched {
    file: sqlite3_file,
    shared: &'static Shared,
    /// SQLite keeps it until the file is closed; null for a temporary file.
    name: *const c_char,
}

/// The system's file behind ours.
///
/// # Safety
/// `file` points to room for a [`Watched`] and a file of the system's VFS.
pub(crate) unsafe fn under(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: within that room; the size of `Watched` keeps the alignment (asserted beside `register`).
    unsafe { file.cast::<Watched>().add(1).cast() }
}

/// Makes an opened file ours.
///
/// # Safety
/// `watched` points to the room that SQLite gave to `xOpen`, `name` is what came with it.
pub(crate) unsafe fn start(watched: *mut Watched, shared: &'static Shared, name: *const c_char) {
    // SAFETY: the room is ours to write.
    unsafe {
        watched.write(Watched {
            file: sqlite3_file {
                pMethods: &raw const METHODS,
            },
            shared,
            name,
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

/// What the watcher says of a change of this file.
///
/// # Safety
/// `file` was made by [`start`] and is not closed.
unsafe fn ask(file: *mut sqlite3_file, change: Change<'_>) -> Verdict {
    // SAFETY: said by the caller; SQLite keeps the name as long as the file is open.
    unsafe {
        let watched = &*file.cast::<Watched>();
        if watched.name.is_null() {
            return Verdict::Make;
        }
        watched.shared.ask(path(watched.name), change)
    }
}

/// Calls a method of the system's file, and gives `$otherwise` where it has none.
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

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let code = hand_on!(xClose, ffi::SQLITE_OK, file);
    // SAFETY: the room is still ours; from here on nobody may call a method.
    unsafe { (*file).pMethods = ptr::null() };
    code
}

unsafe extern "C" fn read(file: *mut sqlite3_file, into: *mut c_void, length: c_int, offset: sqlite3_int64) -> c_int {
    hand_on!(xRead, ffi::SQLITE_IOERR_READ, file, into, length, offset)
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
    match unsafe { ask(file, Change::Write { offset: at, bytes }) } {
        Verdict::Make => hand_on!(xWrite, ffi::SQLITE_IOERR_WRITE, file, from, length, offset),
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

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    let length = u64::try_from(size).unwrap_or(0);
    // SAFETY: as in `hand_on`.
    match unsafe { ask(file, Change::Truncate { length }) } {
        Verdict::Make => hand_on!(xTruncate, ffi::SQLITE_IOERR_TRUNCATE, file, size),
        Verdict::Pretend => ffi::SQLITE_OK,
        Verdict::Short(_, failure) | Verdict::Fail(failure) => code(failure, ffi::SQLITE_IOERR_TRUNCATE),
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    let handle = file.addr();
    // SAFETY: as in `hand_on`.
    match unsafe { ask(file, Change::Sync { handle }) } {
        Verdict::Make => hand_on!(xSync, ffi::SQLITE_IOERR_FSYNC, file, flags),
        Verdict::Pretend => ffi::SQLITE_OK,
        Verdict::Short(_, failure) | Verdict::Fail(failure) => code(failure, ffi::SQLITE_IOERR_FSYNC),
    }
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, out: *mut sqlite3_int64) -> c_int {
    hand_on!(xFileSize, ffi::SQLITE_IOERR_FSTAT, file, out)
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
