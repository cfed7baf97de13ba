//! The VFS itself: opens and deletes are told, the rest is that of the VFS below.

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::Arc;

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_vfs};

use super::file::{self, Layered};
use super::{Change, Failure, Verdict, Watcher};

/// What `pAppData` of a registered VFS points to; never freed.
pub(crate) struct Shared {
    /// The VFS below.
    below: *mut sqlite3_vfs,
    pub(crate) layer: Layer,
}

/// What a VFS adds to the one below.
pub(crate) enum Layer {
    /// Each change is asked for.
    Asks(Arc<dyn Watcher>),
    /// What is written to logs is gathered.
    Gathers,
    /// What is written to a database is synced bit by bit.
    Paces,
}

/// Whether SQLite knows a VFS of this name. They stay known as long as the process runs.
pub(crate) fn is_known(name: &CStr) -> bool {
    // SAFETY: initialising is allowed at any time and from any thread; SQLite reads the name, and only now.
    unsafe {
        ffi::sqlite3_initialize();
        !ffi::sqlite3_vfs_find(name.as_ptr()).is_null()
    }
}

/// Registers the VFS over the one named, or over the system's own, and returns SQLite's code.
pub(crate) fn register(name: CString, over: Option<&CStr>, layer: Layer) -> c_int {
    let over = over.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: initialising is allowed at any time and from any thread; a null name finds the system's default; what was found is never freed.
    let below = unsafe {
        ffi::sqlite3_initialize();
        ffi::sqlite3_vfs_find(over)
    };
    if below.is_null() {
        return ffi::SQLITE_ERROR;
    }
    // SAFETY: found just now; SQLite never changes these two.
    let (file_bytes, path_bytes) = unsafe { ((*below).szOsFile, (*below).mxPathname) };
    let Some(size) = c_int::try_from(size_of::<Layered>())
        .ok()
        .and_then(|own| own.checked_add(file_bytes))
    else {
        return ffi::SQLITE_ERROR;
    };
    let shared = Box::leak(Box::new(Shared { below, layer }));
    let vfs = Box::leak(Box::new(sqlite3_vfs {
        iVersion: 2,
        szOsFile: size,
        mxPathname: path_bytes,
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

impl Shared {
    /// What the watcher says of a change of a name, if there is one.
    ///
    /// # Safety
    /// As for [`path`].
    unsafe fn ask(&self, name: *const c_char, change: Change<'_>) -> Verdict {
        match &self.layer {
            // SAFETY: said by the caller.
            Layer::Asks(watcher) => watcher.change(unsafe { path(name) }, change),
            Layer::Gathers | Layer::Paces => Verdict::Make,
        }
    }
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
        if changes && let Verdict::Fail(failure) = shared.ask(name, Change::Open { handle }) {
            return match failure {
                Failure::Device => ffi::SQLITE_CANTOPEN,
                Failure::Full => ffi::SQLITE_FULL,
            };
        }
        let Some(open_below) = (*shared.below).xOpen else {
            return ffi::SQLITE_CANTOPEN;
        };
        let layered = file.cast::<Layered>();
        let under = file::under(file);
        (*under).pMethods = ptr::null();
        let code = open_below(shared.below, name, under, flags, out_flags);
        if !(*under).pMethods.is_null() {
            file::start(layered, shared, name, flags);
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
        match (shared.ask(name, change), (*shared.below).xDelete) {
            (Verdict::Make, Some(delete)) => delete(shared.below, name, sync_folder),
            (Verdict::Pretend, _) => ffi::SQLITE_OK,
            _ => ffi::SQLITE_IOERR_DELETE,
        }
    }
}

unsafe extern "C" fn access(vfs: *mut sqlite3_vfs, name: *const c_char, flags: c_int, out: *mut c_int) -> c_int {
    // SAFETY: the arguments are handed on as they came, with the VFS they are meant for.
    unsafe {
        let below = shared(vfs).below;
        (*below)
            .xAccess
            .map_or(ffi::SQLITE_IOERR_ACCESS, |call| call(below, name, flags, out))
    }
}

unsafe extern "C" fn full_pathname(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    length: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: as in `access`; `mxPathname` is that of the VFS below, so the room is what it counts on.
    unsafe {
        let below = shared(vfs).below;
        (*below)
            .xFullPathname
            .map_or(ffi::SQLITE_CANTOPEN, |call| call(below, name, length, out))
    }
}

unsafe extern "C" fn randomness(vfs: *mut sqlite3_vfs, length: c_int, out: *mut c_char) -> c_int {
    // SAFETY: as in `access`.
    unsafe {
        let below = shared(vfs).below;
        (*below).xRandomness.map_or(0, |call| call(below, length, out))
    }
}

unsafe extern "C" fn pause(vfs: *mut sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: as in `access`.
    unsafe {
        let below = shared(vfs).below;
        (*below).xSleep.map_or(0, |call| call(below, microseconds))
    }
}

unsafe extern "C" fn current_time(vfs: *mut sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: as in `access`.
    unsafe {
        let below = shared(vfs).below;
        (*below).xCurrentTime.map_or(ffi::SQLITE_ERROR, |call| call(below, out))
    }
}

unsafe extern "C" fn current_time_int64(vfs: *mut sqlite3_vfs, out: *mut sqlite3_int64) -> c_int {
    // SAFETY: as in `access`.
    unsafe {
        let below = shared(vfs).below;
        (*below)
            .xCurrentTimeInt64
            .map_or(ffi::SQLITE_ERROR, |call| call(below, out))
    }
}

unsafe extern "C" fn last_error(vfs: *mut sqlite3_vfs, length: c_int, out: *mut c_char) -> c_int {
    // SAFETY: as in `access`.
    unsafe {
        let below = shared(vfs).below;
        (*below).xGetLastError.map_or(0, |call| call(below, length, out))
    }
}

// The file of the VFS below lies directly behind ours, so ours must not break their alignment.
const _: () = assert!(size_of::<Layered>().is_multiple_of(align_of::<*const c_void>()));
const _: () = assert!(align_of::<Layered>() <= 8);
