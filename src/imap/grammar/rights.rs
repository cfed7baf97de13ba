//! QUOTA and ACL (RFC 9208 §7, RFC 4314 §8).

use super::append::folder;
use super::lexer::{Cursor, Parsed};
use super::tree::{Body, Name};

/// What follows `SETQUOTA`.
pub(super) fn set_quota(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    cursor.space()?;
    let root = cursor.astring("expected a quota root")?.into_owned();
    cursor.space_or_parenthesis()?;
    let limits = cursor.list_or_nothing(|c| {
        let resource = c.keyword("expected a resource")?;
        c.space()?;
        Ok((resource, c.number64()?))
    })?;
    Ok(Body::SetQuota { root, limits })
}

/// What follows `GETQUOTA`.
pub(super) fn get_quota(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    cursor.space()?;
    Ok(Body::GetQuota {
        root: cursor.astring("expected a quota root")?.into_owned(),
    })
}

/// What follows `SETACL`.
pub(super) fn set_acl(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    let (folder, identifier) = folder_and_identifier(cursor)?;
    cursor.space()?;
    Ok(Body::SetAcl {
        folder,
        identifier,
        rights: cursor.astring("expected rights")?.into_owned(),
    })
}

/// What follows `DELETEACL`.
pub(super) fn delete_acl(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    let (folder, identifier) = folder_and_identifier(cursor)?;
    Ok(Body::DeleteAcl { folder, identifier })
}

/// What follows `LISTRIGHTS`.
pub(super) fn list_rights(cursor: &mut Cursor<'_>) -> Parsed<Body> {
    let (folder, identifier) = folder_and_identifier(cursor)?;
    Ok(Body::ListRights { folder, identifier })
}

fn folder_and_identifier(cursor: &mut Cursor<'_>) -> Parsed<(Name, Vec<u8>)> {
    cursor.space()?;
    let folder = folder(cursor)?;
    cursor.space()?;
    Ok((folder, cursor.astring("expected an identifier")?.into_owned()))
}
