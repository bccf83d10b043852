//! Images, and files that only claim to be one.

use super::*;

#[test]
fn gigapixel_image_is_refused() {
    let mut png = b"\x89PNG\r\n\x1A\n\0\0\0\rIHDR".to_vec();
    png.extend(60_000_u32.to_be_bytes());
    png.extend(60_000_u32.to_be_bytes());
    png.extend([8, 2, 0, 0, 0]);
    png.extend(crc(&png[12..]).to_be_bytes());
    png.extend(b"\0\0\0\0IDAT");
    png.extend(crc(b"IDAT").to_be_bytes());
    let error = parse(&png, "image/png").unwrap_err();
    assert_eq!(error.kind, ExtractErrorKind::Limit, "{error}");
    assert_eq!(error.message, "image declares 60000x60000 pixels (3.6 gigapixels), more than --max-pixels 100000000");
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

#[test]
fn truncated_or_mistyped_image_is_malformed() {
    let jpeg = sample("photos/tea-break.jpg");
    for part in [3, 20, 200, jpeg.len() / 3, jpeg.len() - 10] {
        let error = parse(&jpeg[..part], "image/jpeg").unwrap_err();
        assert_eq!(error.kind, ExtractErrorKind::Malformed, "{part}: {error}");
    }
    for media_type in ["image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/tiff"] {
        assert!(parse(b"this is not an image at all", media_type).is_err(), "{media_type}");
        assert!(parse(b"", media_type).is_err(), "{media_type}");
    }
}

#[test]
fn photo_is_oriented_and_its_thumbnail_has_no_metadata() {
    let (extraction, thumbnail) =
        extract(file(&sample("photos/tea-break.jpg")), "image/jpeg", &Limits::default()).unwrap();
    let facts = extraction.image.unwrap();
    assert_eq!((facts.width, facts.height, facts.orientation), (600, 400, 6));
    assert_eq!(facts.taken_at.as_deref(), Some("2024-03-20T06:36:26+03:30"));
    assert!(facts.has_gps && facts.camera.is_some());
    let thumbnail = thumbnail.unwrap();
    let decoded = ::image::load_from_memory(&thumbnail).unwrap();
    assert_eq!((decoded.width(), decoded.height()), (320, 213));
    assert!(!thumbnail.windows(4).any(|chunk| chunk == b"EXIF"));
}
