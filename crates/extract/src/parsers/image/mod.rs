//! Dimensions, EXIF facts and a thumbnail of an image.
//!
//! The declared dimensions are checked before anything of that size is allocated.

mod ssim;
mod webp;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{PixelType, ResizeOptions, Resizer};
use image::error::{ImageError, LimitErrorKind};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::types::{ExtractError, ExtractErrorKind, Extraction, ImageFacts, Limits, Thumbnail};

/// Larger EXIF metadata is ignored.
const MAX_EXIF_BYTES: usize = 1 << 20;

/// The format of a media type; `None` for types that are not decoded.
pub(super) fn format(media_type: &str) -> Option<ImageFormat> {
    Some(match media_type {
        "image/jpeg" => ImageFormat::Jpeg,
        "image/png" => ImageFormat::Png,
        "image/gif" => ImageFormat::Gif,
        "image/webp" => ImageFormat::WebP,
        "image/bmp" => ImageFormat::Bmp,
        "image/tiff" => ImageFormat::Tiff,
        _ => return None,
    })
}

/// Reads an image; the bytes are its thumbnail in WebP.
pub(super) fn extract(
    file: File,
    format: ImageFormat,
    limits: &Limits,
) -> Result<(Extraction, Option<Vec<u8>>), ExtractError> {
    let mut file = BufReader::new(file);
    if format == ImageFormat::Jpeg {
        check_jpeg_end(&mut file).map_err(|error| ExtractError::io("reading the image", &error))??;
    }
    let mut reader = ImageReader::with_format(file, format);
    let mut decoder_limits = image::Limits::default();
    decoder_limits.max_alloc = Some(limits.memory_bytes);
    reader.limits(decoder_limits);
    let mut decoder = reader.into_decoder().map_err(|error| image_error(&error, limits))?;
    let (width, height) = decoder.dimensions();
    check_pixels(width, height, limits)?;

    let exif = decoder.exif_metadata().ok().flatten().filter(|exif| exif.len() <= MAX_EXIF_BYTES);
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut extraction = Extraction { image: Some(facts(width, height, orientation, exif)), ..Extraction::default() };
    let decoded = DynamicImage::from_decoder(decoder).map_err(|error| image_error(&error, limits))?;
    let (thumbnail, bytes) = thumbnail(decoded, orientation, limits.thumbnail_pixels)?;
    extraction.thumbnail = Some(thumbnail);
    Ok((extraction, Some(bytes)))
}

/// The decoder fills the missing part of a truncated JPEG with grey. So its scans are checked for the end-of-image marker:
/// within them `FF D9` means nothing else.
fn check_jpeg_end(file: &mut BufReader<File>) -> std::io::Result<Result<(), ExtractError>> {
    let has_end = has_jpeg_end(file);
    file.rewind()?;
    match has_end {
        Ok(true) => Ok(Ok(())),
        Ok(false) => Ok(Err(ExtractError::malformed("the JPEG is truncated: its data ends before its end mark"))),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Ok(Err(ExtractError::malformed("the JPEG is truncated: it ends before its picture begins")))
        }
        Err(error) => Err(error),
    }
}

/// Whether the end-of-image marker follows the start of the first scan; `true` if the markers before it are invalid.
fn has_jpeg_end(file: &mut BufReader<File>) -> std::io::Result<bool> {
    const START_OF_SCAN: u8 = 0xDA;
    let mut marker = [0_u8; 2];
    file.read_exact(&mut marker)?;
    loop {
        file.read_exact(&mut marker)?;
        // Fill bytes may precede a marker; the decoder reports anything else.
        while marker == [0xFF, 0xFF] {
            file.read_exact(&mut marker[1..])?;
        }
        if marker[0] != 0xFF {
            return Ok(true);
        }
        if marker[1] == START_OF_SCAN {
            break;
        }
        let mut length = [0_u8; 2];
        file.read_exact(&mut length)?;
        file.seek_relative(i64::from(u16::from_be_bytes(length)).max(2) - 2)?;
    }
    let mut previous = 0;
    loop {
        let buffer = file.fill_buf()?;
        let Some(last) = buffer.last().copied() else { return Ok(false) };
        if (previous == 0xFF && buffer[0] == 0xD9) || buffer.windows(2).any(|pair| pair == [0xFF, 0xD9]) {
            return Ok(true);
        }
        previous = last;
        let read = buffer.len();
        file.consume(read);
    }
}

fn check_pixels(width: u32, height: u32, limits: &Limits) -> Result<(), ExtractError> {
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(ExtractError::malformed("the image declares no pixels"));
    }
    if pixels > limits.max_pixels {
        return Err(ExtractError::limit(format!(
            "image declares {width}x{height} pixels ({}), more than --max-pixels {}",
            megapixels(pixels),
            limits.max_pixels
        )));
    }
    Ok(())
}

fn megapixels(pixels: u64) -> String {
    let pixels = pixels as f64;
    if pixels >= 1e9 { format!("{:.1} gigapixels", pixels / 1e9) } else { format!("{:.1} megapixels", pixels / 1e6) }
}

/// The decoder's error in terms of the file and the limits.
fn image_error(error: &ImageError, limits: &Limits) -> ExtractError {
    let mut message = error.to_string();
    message.truncate(message.floor_char_boundary(200));
    match error {
        ImageError::Limits(limit) if matches!(limit.kind(), LimitErrorKind::InsufficientMemory) => {
            let mib = limits.memory_bytes >> 20;
            ExtractError::limit(format!("decoding the image needs more memory than --memory {mib} MiB"))
        }
        ImageError::Limits(_) => ExtractError::limit(format!("the image asks for more than is allowed: {message}")),
        ImageError::Unsupported(_) => ExtractError::new(ExtractErrorKind::Unsupported, message),
        // The others are made by the decoders, about the content of the file.
        ImageError::IoError(source) if source.raw_os_error().is_some() => ExtractError::io("reading the image", source),
        _ => ExtractError::malformed(format!("the image cannot be read (truncated or damaged): {message}")),
    }
}

fn facts(width: u32, height: u32, orientation: Orientation, exif: Option<Vec<u8>>) -> ImageFacts {
    let is_rotated = matches!(
        orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    );
    let (width, height) = if is_rotated { (height, width) } else { (width, height) };
    let facts = ImageFacts { width, height, orientation: orientation.to_exif(), ..ImageFacts::default() };
    exif.and_then(|exif| exif::Reader::new().read_raw(exif).ok()).map_or(facts.clone(), |exif| with_exif(&exif, facts))
}

fn with_exif(exif: &exif::Exif, mut facts: ImageFacts) -> ImageFacts {
    let text = |tag| exif.get_field(tag, exif::In::PRIMARY).and_then(|field| ascii(&field.value));
    facts.camera = match (text(exif::Tag::Make), text(exif::Tag::Model)) {
        (Some(make), Some(model)) if !model.starts_with(&make) => Some(format!("{make} {model}")),
        (make, model) => model.or(make),
    };
    let offset = text(exif::Tag::OffsetTimeOriginal).unwrap_or_default();
    facts.taken_at = text(exif::Tag::DateTimeOriginal).and_then(|time| taken_at(&time, &offset));
    facts.has_gps = exif.get_field(exif::Tag::GPSLatitude, exif::In::PRIMARY).is_some();
    facts
}

/// The first line of an ASCII value: without control characters, at most 100 characters, `None` if empty.
fn ascii(value: &exif::Value) -> Option<String> {
    let exif::Value::Ascii(lines) = value else { return None };
    let text = String::from_utf8_lossy(lines.first()?);
    let text: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// EXIF's `2024:03:20 10:30:00` as `2024-03-20T10:30:00`, with the offset if EXIF has one.
fn taken_at(time: &str, offset: &str) -> Option<String> {
    let (date, time) = time.split_once(' ')?;
    let iso = format!("{}T{time}", date.replace(':', "-"));
    let parsed: jiff::civil::DateTime = iso.parse().ok()?;
    let has_offset = offset.len() == 6 && offset.starts_with(['+', '-']);
    Some(format!("{parsed}{}", if has_offset { offset } else { "" }))
}

/// Scales to `longest` pixels at most, applies the orientation and encodes. A smaller image keeps its size.
fn thumbnail(
    decoded: DynamicImage,
    orientation: Orientation,
    longest: u32,
) -> Result<(Thumbnail, Vec<u8>), ExtractError> {
    let (width, height) = fitted(decoded.width(), decoded.height(), longest);
    let mut small = scaled(decoded, width, height)?;
    small.apply_orientation(orientation);
    let width = small.width();
    let height = small.height();
    let bytes = webp::encode(&small)?;
    Ok((Thumbnail { width, height, bytes: bytes.len() as u64 }, bytes))
}

/// The dimensions scaled so that the longer side is `longest` at most.
fn fitted(width: u32, height: u32, longest: u32) -> (u32, u32) {
    let long = width.max(height);
    if long <= longest {
        return (width, height);
    }
    let scale = |side: u32| (u64::from(side) * u64::from(longest) / u64::from(long)).max(1) as u32;
    (scale(width), scale(height))
}

/// Scales to 8-bit RGB, or RGBA if the image has transparency.
fn scaled(decoded: DynamicImage, width: u32, height: u32) -> Result<DynamicImage, ExtractError> {
    let from = (decoded.width(), decoded.height());
    let has_alpha = decoded.color().has_alpha();
    let to = (width, height);
    let same_size = from == to;
    if has_alpha {
        let pixels = decoded.into_rgba8();
        if same_size {
            return Ok(pixels.into());
        }
        let small = resize(pixels.as_raw(), from, to, PixelType::U8x4)?;
        return image::RgbaImage::from_raw(width, height, small).map(DynamicImage::from).ok_or_else(scaling_error);
    }
    let pixels = decoded.into_rgb8();
    if same_size {
        return Ok(pixels.into());
    }
    let small = resize(pixels.as_raw(), from, to, PixelType::U8x3)?;
    image::RgbImage::from_raw(width, height, small).map(DynamicImage::from).ok_or_else(scaling_error)
}

fn resize(pixels: &[u8], from: (u32, u32), to: (u32, u32), kind: PixelType) -> Result<Vec<u8>, ExtractError> {
    let source = ImageRef::new(from.0, from.1, pixels, kind).map_err(|_| scaling_error())?;
    let mut target = Image::new(to.0, to.1, kind);
    Resizer::new().resize(&source, &mut target, &ResizeOptions::new()).map_err(|_| scaling_error())?;
    Ok(target.into_vec())
}

fn scaling_error() -> ExtractError {
    ExtractError::new(ExtractErrorKind::Unsupported, "the image could not be scaled")
}
