//! Binary formats, by their signatures.

/// The bytes of a format at an offset.
struct Signature {
    at: usize,
    bytes: &'static [u8],
    media_type: &'static str,
}

const fn sig(at: usize, bytes: &'static [u8], media_type: &'static str) -> Signature {
    Signature { at, bytes, media_type }
}

const SIGNATURES: &[Signature] = &[
    sig(0, b"\xFF\xD8\xFF", "image/jpeg"),
    sig(0, b"\x89PNG\r\n\x1A\n", "image/png"),
    sig(0, b"GIF87a", "image/gif"),
    sig(0, b"GIF89a", "image/gif"),
    sig(0, b"II*\0", "image/tiff"),
    sig(0, b"MM\0*", "image/tiff"),
    sig(0, b"8BPS", "image/vnd.adobe.photoshop"),
    sig(0, b"\0\0\x01\0", "image/vnd.microsoft.icon"),
    sig(0, b"\xFF\x0A", "image/jxl"),
    sig(0, b"\0\0\0\x0CJXL \r\n\x87\n", "image/jxl"),
    sig(0, b"\0\0\0\x0CjP  \r\n\x87\n", "image/jp2"),
    sig(0, b"AT&TFORM", "image/vnd.djvu"),
    sig(0, b"%!PS", "application/postscript"),
    sig(0, b"{\\rtf", "application/rtf"),
    sig(0, b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "application/x-ole-storage"),
    sig(0, b"Rar!\x1A\x07", "application/vnd.rar"),
    sig(0, b"7z\xBC\xAF\x27\x1C", "application/x-7z-compressed"),
    sig(0, b"\x1F\x8B", "application/gzip"),
    sig(0, b"BZh", "application/x-bzip2"),
    sig(0, b"\xFD7zXZ\0", "application/x-xz"),
    sig(0, b"\x28\xB5\x2F\xFD", "application/zstd"),
    sig(0, b"!<arch>\n", "application/x-archive"),
    sig(0, b"\xED\xAB\xEE\xDB", "application/x-rpm"),
    sig(0, b"SQLite format 3\0", "application/vnd.sqlite3"),
    sig(0, b"\x7FELF", "application/x-elf"),
    sig(0, b"MZ", "application/vnd.microsoft.portable-executable"),
    sig(0, b"\xCA\xFE\xBA\xBE", "application/java-vm"),
    sig(0, b"\0asm", "application/wasm"),
    sig(0, b"wOFF", "font/woff"),
    sig(0, b"wOF2", "font/woff2"),
    sig(0, b"OTTO\0", "font/otf"),
    sig(0, b"\0\x01\0\0\0", "font/ttf"),
    sig(0, b"ID3", "audio/mpeg"),
    sig(0, b"fLaC", "audio/flac"),
    sig(0, b"MThd", "audio/midi"),
    sig(0, b"#!AMR", "audio/amr"),
    sig(0, b"MAC ", "audio/x-ape"),
    sig(0, b"FLV\x01", "video/x-flv"),
    sig(0, b"\0\0\x01\xBA", "video/mpeg"),
    sig(0, b"\0\0\x01\xB3", "video/mpeg"),
    sig(0, b"\x30\x26\xB2\x75\x8E\x66\xCF\x11", "video/x-ms-asf"),
    sig(128, b"DICM", "application/dicom"),
];

/// The format whose signature the sample has.
pub(super) fn detect(sample: &[u8]) -> Option<&'static str> {
    container(sample)
        .or_else(|| tar(sample))
        .or_else(|| SIGNATURES.iter().find(|s| is_at(sample, s.at, s.bytes)).map(|s| s.media_type))
        .filter(|media_type| !is_short_signature(media_type) || !looks_like_text(sample))
        .or_else(|| bmp(sample))
        .or_else(|| mpeg_audio(sample))
}

/// Whether the signature is of two or three letters that text may start with too.
fn is_short_signature(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/vnd.microsoft.portable-executable" | "application/x-bzip2" | "audio/mpeg" | "audio/x-ape"
    )
}

/// Whether no byte is one that only binary data has (WHATWG MIME Sniffing, 3), or a byte order mark begins UTF-16.
pub(super) fn looks_like_text(sample: &[u8]) -> bool {
    match sample {
        [] | [0xFF, 0xFE, 0, 0, ..] => false,
        [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..] => true,
        _ => !sample.iter().any(|byte| matches!(byte, 0..=8 | 0x0B | 0x0E..=0x1A | 0x1C..=0x1F | 0x7F)),
    }
}

pub(super) fn is_archive(sample: &[u8]) -> bool {
    [&b"PK\x03\x04"[..], b"Rar!\x1A\x07", b"7z\xBC\xAF\x27\x1C", b"!<arch>\n"]
        .iter()
        .any(|start| sample.starts_with(start))
        || tar(sample).is_some()
}

fn container(sample: &[u8]) -> Option<&'static str> {
    match sample {
        [b'R', b'I', b'F', b'F', _, _, _, _, kind @ ..] => match kind.get(..4)? {
            b"WEBP" => Some("image/webp"),
            b"WAVE" => Some("audio/wav"),
            b"AVI " => Some("video/x-msvideo"),
            _ => None,
        },
        [b'F', b'O', b'R', b'M', _, _, _, _, b'A', b'I', b'F', b'F' | b'C', ..] => Some("audio/aiff"),
        [b'O', b'g', b'g', b'S', ..] => Some(ogg(sample)),
        [0x1A, 0x45, 0xDF, 0xA3, ..] => Some(if has(sample, b"webm", 64) { "video/webm" } else { "video/x-matroska" }),
        [b'P', b'K', 3, 4, ..] => Some(zip(sample)),
        [b'P', b'K', 5, 6, ..] => Some("application/zip"),
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => Some(iso_media(brand)),
        _ => None,
    }
}

fn ogg(sample: &[u8]) -> &'static str {
    if has(sample, b"theora", 512) {
        "video/ogg"
    } else if has(sample, b"OpusHead", 512) || has(sample, b"vorbis", 512) || has(sample, b"Speex", 512) {
        "audio/ogg"
    } else {
        "application/ogg"
    }
}

fn iso_media(brand: &[u8]) -> &'static str {
    match brand.get(..4).unwrap_or_default() {
        b"qt  " => "video/quicktime",
        b"M4A " | b"M4B " | b"M4P " => "audio/mp4",
        b"M4V " => "video/x-m4v",
        b"avif" | b"avis" => "image/avif",
        b"heic" | b"heix" | b"hevc" => "image/heic",
        b"mif1" | b"msf1" => "image/heif",
        [b'3', b'g', ..] => "video/3gpp",
        _ => "video/mp4",
    }
}

/// A document format shows in the first entries of its ZIP container; any other container is a ZIP.
fn zip(sample: &[u8]) -> &'static str {
    const ODF: &[u8] = b"mimetypeapplication/vnd.oasis.opendocument.";
    if is_at(sample, 30, b"mimetypeapplication/epub+zip") {
        return "application/epub+zip";
    }
    if is_at(sample, 30, ODF) {
        let kind = sample.get(30 + ODF.len()..).unwrap_or_default();
        return match kind {
            [b't', b'e', b'x', b't', ..] => "application/vnd.oasis.opendocument.text",
            [b's', b'p', b'r', ..] => "application/vnd.oasis.opendocument.spreadsheet",
            [b'p', b'r', b'e', ..] => "application/vnd.oasis.opendocument.presentation",
            [b'g', b'r', ..] => "application/vnd.oasis.opendocument.graphics",
            _ => "application/zip",
        };
    }
    if has(sample, b"[Content_Types].xml", sample.len()) || has(sample, b"_rels/.rels", sample.len()) {
        for (part, media_type) in [
            (&b"word/"[..], "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
            (b"xl/", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
            (b"ppt/", "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
        ] {
            if has(sample, part, sample.len()) {
                return media_type;
            }
        }
    }
    if is_at(sample, 30, b"META-INF/") { "application/java-archive" } else { "application/zip" }
}

/// Text may start with `BM` too, so the size of the header that follows has to be valid.
fn bmp(sample: &[u8]) -> Option<&'static str> {
    let header = sample.get(..18).filter(|header| header.starts_with(b"BM"))?;
    let size = u32::from_le_bytes(header.get(14..18)?.try_into().ok()?);
    matches!(size, 12 | 40 | 52 | 56 | 64 | 108 | 124).then_some("image/bmp")
}

/// A tape archive, by the signature of later formats or the checksum of its first header (POSIX.1, ustar: all bytes of the
/// header, with spaces for the checksum).
fn tar(sample: &[u8]) -> Option<&'static str> {
    const CHECKSUM: std::ops::Range<usize> = 148..156;
    if is_at(sample, 257, b"ustar") {
        return Some("application/x-tar");
    }
    let header = sample.get(..512).filter(|header| header[0] != 0)?;
    let checksum = std::str::from_utf8(&header[CHECKSUM]).ok()?.trim_matches(['\0', ' ']);
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let own: u32 = header[CHECKSUM].iter().map(|byte| u32::from(*byte)).sum();
    (u32::from_str_radix(checksum, 8).ok()? == sum - own + 8 * 32).then_some("application/x-tar")
}

/// A frame of MPEG audio: eleven set bits, then fields without reserved values.
fn mpeg_audio(sample: &[u8]) -> Option<&'static str> {
    let [0xFF, b1, b2, ..] = *sample else { return None };
    if b1 & 0xF6 == 0xF0 {
        return Some("audio/aac");
    }
    let version_ok = b1 & 0xE0 == 0xE0 && b1 & 0x18 != 0x08;
    // Layer I is not in use, and would match UTF-16's byte order mark (FF FE).
    let layer_ok = matches!(b1 & 0x06, 0x02 | 0x04);
    let rate_ok = b2 & 0xF0 != 0xF0 && b2 & 0xF0 != 0 && b2 & 0x0C != 0x0C;
    (version_ok && layer_ok && rate_ok).then_some("audio/mpeg")
}

fn is_at(sample: &[u8], at: usize, bytes: &[u8]) -> bool {
    sample.get(at..).is_some_and(|rest| rest.starts_with(bytes))
}

pub(super) fn has(sample: &[u8], bytes: &[u8], within: usize) -> bool {
    sample[..sample.len().min(within)].windows(bytes.len()).any(|window| window == bytes)
}
