//! Dates and date-times (RFC 9051 §9).

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::Offset;

use super::lexer::{Cursor, Parsed};

/// `1-Feb-2026`, quoted or not.
pub(super) fn date(cursor: &mut Cursor<'_>) -> Parsed<Date> {
    let quoted = cursor.eat(b'"');
    let date = day_month_year(cursor)?;
    if quoted {
        cursor.expect(b'"', "expected \" after the date")?;
    }
    Ok(date)
}

/// `" 1-Feb-2026 09:08:07 +0100"`, kept as the instant it is.
pub(super) fn date_time(cursor: &mut Cursor<'_>) -> Parsed<Timestamp> {
    let start = cursor.clone();
    cursor.expect(b'"', "expected a date in quotes")?;
    cursor.eat(b' ');
    let date = day_month_year(cursor)?;
    cursor.space()?;
    let hour = digits(cursor, 2)?;
    cursor.expect(b':', "expected : in the time")?;
    let minute = digits(cursor, 2)?;
    cursor.expect(b':', "expected : in the time")?;
    // A leap second becomes the one before it.
    let second = digits(cursor, 2)?;
    let second = if second == 60 { 59 } else { second };
    cursor.space()?;
    let offset = zone(cursor)?;
    cursor.expect(b'"', "expected \" after the date")?;
    let (Ok(hour), Ok(minute), Ok(second)) = (i8::try_from(hour), i8::try_from(minute), i8::try_from(second)) else {
        return start.fail("no such time");
    };
    let Ok(time) = Time::new(hour, minute, second, 0) else {
        return start.fail("no such time");
    };
    let found = Offset::from_seconds(offset).and_then(|offset| offset.to_timestamp(date.to_datetime(time)));
    found.or_else(|_| start.fail("no such time"))
}

/// `+0100`, in seconds.
fn zone(cursor: &mut Cursor<'_>) -> Parsed<i32> {
    let sign = match cursor.peek() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return cursor.fail("expected a time zone as +0100"),
    };
    cursor.advance(1);
    let hours = digits(cursor, 2)?;
    let minutes = digits(cursor, 2)?;
    if minutes > 59 {
        return cursor.fail("expected a time zone as +0100");
    }
    Ok(sign * (i32::from(hours) * 3600 + i32::from(minutes) * 60))
}

fn day_month_year(cursor: &mut Cursor<'_>) -> Parsed<Date> {
    let start = cursor.clone();
    let day = if cursor.rest().get(1).is_some_and(u8::is_ascii_digit) {
        digits(cursor, 2)?
    } else {
        digits(cursor, 1)?
    };
    cursor.expect(b'-', "expected a date as 1-Feb-2026")?;
    let name = cursor.run(|b| b.is_ascii_alphabetic());
    let month = MONTHS.iter().position(|m| name.eq_ignore_ascii_case(m));
    cursor.expect(b'-', "expected a date as 1-Feb-2026")?;
    let year = digits(cursor, 4)?;
    let found = month.and_then(|month| {
        let year = i16::try_from(year).ok()?;
        Date::new(year, i8::try_from(month + 1).ok()?, i8::try_from(day).ok()?).ok()
    });
    found.map_or_else(|| start.fail("expected a date as 1-Feb-2026"), Ok)
}

/// So many digits.
fn digits(cursor: &mut Cursor<'_>, count: usize) -> Parsed<u16> {
    let found = cursor.rest().get(..count).filter(|d| d.iter().all(u8::is_ascii_digit));
    match found
        .and_then(|d| std::str::from_utf8(d).ok())
        .and_then(|d| d.parse().ok())
    {
        Some(number) => {
            cursor.advance(count);
            Ok(number)
        }
        None => cursor.fail("expected digits of a date"),
    }
}

const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
