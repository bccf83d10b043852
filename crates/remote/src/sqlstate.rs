//! Error kinds of PostgreSQL's SQLSTATE codes. Opens no connection.
//!
//! <https://www.postgresql.org/docs/current/errcodes-appendix.html>

use mfctl_core::ports::ErrorKind;

/// The error kind of a SQLSTATE; `None` for a code or class that is not mapped.
pub(super) fn kind_of(code: &str) -> Option<ErrorKind> {
    let kind = match code {
        // Serialization failure, deadlock, lock not available: the transaction was rolled back and can be repeated.
        "40001" | "40P01" | "55P03" => ErrorKind::Throttled,
        // query_canceled: by statement_timeout or by an operator.
        "57014" => ErrorKind::Timeout,
        "53100" => ErrorKind::Full,
        "23505" => ErrorKind::Conflict,
        // read_only_sql_transaction: the primary was demoted to a standby.
        "25006" => ErrorKind::Unreachable,
        "42501" => ErrorKind::Denied,
        // Undefined table, function, schema, column or type: migrations are pending.
        "42P01" | "42883" | "3F000" | "42703" | "42704" => ErrorKind::Unprepared,
        "3D000" => ErrorKind::Unprepared,
        "XX001" | "XX002" => ErrorKind::Corrupt,
        "P0001" | "21000" | "54000" => ErrorKind::Invalid,
        _ => match code.get(..2)? {
            "08" | "57" | "58" => ErrorKind::Unreachable,
            "53" => ErrorKind::Throttled,
            "28" => ErrorKind::Denied,
            "22" | "23" => ErrorKind::Invalid,
            "40" => ErrorKind::Throttled,
            "XX" => ErrorKind::Internal,
            _ => return None,
        },
    };
    Some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_transient_codes_are_dependency_failures() {
        let transient = ["40001", "40P01", "55P03", "57014", "53300", "53100", "57P01", "57P03", "08006", "58030"];
        assert!(transient.iter().all(|code| kind_of(code).is_some_and(ErrorKind::is_dependency)));
        for (code, kind) in [
            ("22P05", ErrorKind::Invalid),
            ("23514", ErrorKind::Invalid),
            ("P0001", ErrorKind::Invalid),
            ("23505", ErrorKind::Conflict),
            ("42501", ErrorKind::Denied),
            ("28P01", ErrorKind::Denied),
            ("42P01", ErrorKind::Unprepared),
        ] {
            assert_eq!(kind_of(code), Some(kind), "{code}");
        }
        assert_eq!((kind_of("PGRST205"), kind_of(""), kind_of("é1")), (None, None, None));
    }
}
