//! The VFS itself: opens and deletes are told, the rest is the system's.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_vfs};

use super::file::{self, Watched};
use super::{Change, Failure, Verdict, Watcher};

/// What `pAppData` of a registered VFS points to; never freed.
pub(crate) struct Shared {
    system: *mut sqlite3_vfs,
    watcher: Arc<dyn Watcher>,
}

impl Shared {
    pub(crate) fn ask(&self, path: &Path, change: Change<'_>) -> Verdict {
        self.watcher.change(path, change)
    }
}

/// Registers the VFS and returns SQLite's code.
pub(crate) fn register(name: CString, watcher: Arc<dyn Watcher>) -> c_int {
    // SAFETY: initialising is allowed at any time and from any thread; a null name finds the system's default, which is never freed.
    let system = unsafe {
        ffi::sqlite3_initialize();
        ffi::sqlite3_vfs_find(ptr::null())
    };
    if system.is_null() {
        return ffi::SQLITE_ERROR;
    }
    // SAFETY: found just now, and its fields never change.
    let system_fields = unsafe { &*system };
    let Some(size) = c_int::try_from(size_of::<Watched>())
        .ok()
        .and_then(|own| own.checked_add(system_fields.szOsFile))
    else {
        return ffi::SQLITE_ERROR;
    };
    let shared = Box::leak(Box::new(Shared { system, watcher }));
    let vfs = Box::leak(Box::new(sqlite3_vfs {
        iVersion: 2,
        szOsFile: size,
        mxPathname: system_fields.mxPathname,
        pNext: ptr::null_mut(),
        zName: name.into_raw(),
        pAppData: ptr::from_mut(shared).cast(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(pause),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: Some(current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }));
    // SAFETY: the structure, its name and what it points to are never freed, and every function in it is of the type SQLite calls.
    unsafe { ffi::sqlite3_vfs_register(vfs, 0) }
}

/// The shared part of a VFS made by [`register`].
///
/// # Safety
/// `vfs` was made by [`register`].
unsafe fn shared(vfs: *mut sqlite3_vfs) -> &'static Shared {
    // SAFETY: `register` put a leaked `Shared` there, which is only read from then on.
    unsafe { &*(*vfs).pAppData.cast::<Shared>() }
}

/// A file name as SQLite hands it over; empty for a temporary file.
///
/// # Safety
/// `name` is null or ends with a zero byte, and lives for `'a`.
pub(crate) unsafe fn path<'a>(name: *const c_char) -> &'a Path {
    if name.is_null() {
        return Path::new("");
    }
    // SAFETY: said by the caller.
    let bytes = unsafe { CStr::from_ptr(name) }.to_bytes();
    Path::new(OsStr::from_bytes(bytes))
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls this with the VFS it belongs to, a name as `path` wants it, and room for `szOsFile` bytes at `file`.
    unsafe {
        let shared = shared(vfs);
        // SQLite must not call a method of a file that was not opened.
        (*file).pMethods = ptr::null();
        let changes = flags & ffi::SQLITE_OPEN_READWRITE != 0 && !name.is_null();
        let handle = file.addr();
        if changes && let Verdict::Fail(failure) = shared.ask(path(name), Change::Open { handle }) {
            return match failure {
                Failure::Device => ffi::SQLITE_CANTOPEN,
                Failure::Full => ffi::SQLITE_FULL,
            };
        }
        let Some(system_open) = (*shared.system).xOpen else {
            return ffi::SQLITE_CANTOPEN;
        };
        let watched = file.cast::<Watched>();
        let under = file::under(file);
        (*under).pMethods = ptr::null();
        let code = system_open(shared.system, name, under, flags, out_flags);
        if !(*under).pMethods.is_null() {
            file::start(watched, shared, name);
        }
        code
    }
}

unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, name: *const c_char, sync_folder: c_int) -> c_int {
    // SAFETY: as in `open`.
    unsafe {
        let shared = shared(vfs);
        let change = Change::Delete {
            sync_folder: sync_folder != 0,
        };
        match (shared.ask(path(name), change), (*shared.system).xDelete) {
            (Verdict::Make, Some(system)) => system(shared.system, name, sync_folder),
            (Verdict::Pretend, _) => ffi::SQLITE_OK,
            _ => ffi::SQLITE_IOERR_DELETE,
        }
    }
}

unsafe extern "C" fn access(vfs: *mut sqlite3_vfs, name: *const c_char, flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: the arguments are handed on as they came, with the VFS they are meant for.
    unsafe {
        let system = shared(vfs).system;
        (*system)
            .xAccess
            .map_or(ffi::SQLITE_IOERR_ACCESS, |call| call(system, name, flags, out))
    }
}

unsafe extern "C" fn full_pathname(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    length: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: as in `access`; `mxPathname` is the system's, so the room is what it counts on.
    unsafe {
        let system = shared(vfs).system;
        (*system)
            .xFullPathname
            .map_or(ffi::SQLITE_CANTOPEN, |call| call(system, name, length, out))
    }
}

unsafe extern "C" fn randomness(vfs: *mut sqlite3_vfs, length: c_int, out: *mut c_char) -> c_int {
    // SAFETY: as in `access`.
    unsafe {
        let system = shared(vfs).system;
        (*system).xRandomness.map_or(0, |call| call(system, length, out))
    }
}

unsafe extern "C" fn pause(vfs: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: as in `access`.
    unsafe {
        let system = shared(vfs).system;
        (*system).xSleep.map_or(0, |call| call(system, microseconds))
    }
}

unsafe extern "C" fn current_time(vfs: *mut sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: as in `access`.
    unsafe {
        let system = shared(vfs).system;
        (*system)
            .xCurrentTime
            .map_or(ffi::SQLITE_ERROR, |call| call(system, out))
    }
}

unsafe extern "C" fn current_time_int64(vfs: *mut sqlite3_vfs, out: *mut sqlite3_int64) -> c_int {
    // SAFETY: as in `access`.
    unsafe {
        let system = shared(vfs).system;
        (*system)
            .xCurrentTimeInt64
            .map_or(ffi::SQLITE_ERROR, |call| call(system, out))
    }
}

unsafe extern "C" fn last_error(vfs: *mut sqlite3_vfs, length: c_int, out: *mut c_char) -> c_int {
    // SAFETY: as in `access`.
    unsafe {
        let system = shared(vfs).system;
        (*system).xGetLastError.map_or(0, |call| call(system, length, out))
    }
}

// The system's file lies directly behind ours, so ours must not break their alignment.
const _: () = assert!(size_of::<Watched>().is_multiple_of(align_of::<*const c_void>()));
const _: () = assert!(align_of::<Watched>() <= 8);
