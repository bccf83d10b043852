//! Encodes thumbnails as lossy WebP that is as small as possible and looks the same.

use image::DynamicImage;
use webp::{Decoder, Encoder, PixelLayout, WebPConfig};

use super::ssim::similarity;
use crate::parsers::types::{ExtractError, ExtractErrorKind};

// Qualities, of 0 to 100.
/// The first that is tried: photographs need about as much.
const FIRST_QUALITY: f64 = 74.0;
const MIN_QUALITY: f64 = 30.0;
const MAX_QUALITY: f64 = 95.0;
/// An attempt takes longer than reading a text, so there are few: most photographs need one or two.
const MAX_ATTEMPTS: usize = 5;
/// The least structural similarity of an encoded image: a little more than 0.95, as measures of it differ a little.
const MIN_SIMILARITY: f64 = 0.953;
/// The similarity that an attempt aims at.
const WANTED_SIMILARITY: f64 = 0.955;
/// An image that is at most as similar as this would hardly become smaller by another attempt.
const ENOUGH_SIMILARITY: f64 = 0.958;
/// An image that is at most as large as this is not worth another attempt.
const SMALL_BYTES: usize = 4096;

/// Encodes an image of 8-bit RGB or RGBA at about the lowest quality at which it is similar enough, or at the highest. Alpha is
/// kept without loss.
pub(super) fn encode(image: &DynamicImage) -> Result<Vec<u8>, ExtractError> {
    let mut search = QualitySearch::default();
    let mut smallest = None;
    for _ in 0..MAX_ATTEMPTS {
        let Some(quality) = search.next_quality() else { break };
        let encoded = encode_at(image, &lossy(quality)?)?;
        let similarity = similarity_to(image, &encoded)?;
        search.add(quality, similarity);
        if similarity >= MIN_SIMILARITY {
            let is_enough = similarity <= ENOUGH_SIMILARITY || encoded.len() <= SMALL_BYTES;
            smallest = Some(encoded);
            if is_enough {
                break;
            }
        }
    }
    smallest.map_or_else(|| encode_at(image, &lossy(MAX_QUALITY)?), Ok)
}

/// One attempt: the logarithm of the dissimilarity falls about linearly with the fineness of the quantizer.
#[derive(Debug, Clone, Copy)]
struct QualityAttempt {
    fineness: f64,
    log_dissimilarity: f64,
}

/// The attempts that are nearest to the lowest quality at which an image is similar enough.
#[derive(Debug, Default)]
struct QualitySearch {
    too_low: Option<QualityAttempt>,
    high_enough: Option<QualityAttempt>,
}

impl QualitySearch {
    /// The usual change of the logarithm of the dissimilarity per unit of fineness, until two attempts show it.
    const USUAL_SLOPE: f64 = -0.033;

    fn add(&mut self, quality: f64, similarity: f64) {
        let attempt = QualityAttempt { fineness: fineness(quality), log_dissimilarity: log_dissimilarity(similarity) };
        if similarity < MIN_SIMILARITY {
            self.too_low = Some(attempt);
        } else {
            self.high_enough = Some(attempt);
        }
    }

    /// The next quality to try; `None` if no quality between those that were tried is worth an attempt.
    fn next_quality(&self) -> Option<f64> {
        let (near, slope) = match (self.too_low, self.high_enough) {
            (None, None) => return Some(FIRST_QUALITY),
            (Some(low), Some(high)) => {
                let fall = high.log_dissimilarity - low.log_dissimilarity;
                (low, fall / (high.fineness - low.fineness))
            }
            (Some(only), None) | (None, Some(only)) => (only, Self::USUAL_SLOPE),
        };
        let estimate = near.fineness + (log_dissimilarity(WANTED_SIMILARITY) - near.log_dissimilarity) / slope;
        let lowest = self.too_low.map_or(fineness(MIN_QUALITY), |low| low.fineness + 1.0);
        let highest = self.high_enough.map_or(fineness(MAX_QUALITY), |high| high.fineness - 1.0);
        (lowest <= highest).then(|| quality_of(estimate.max(lowest).min(highest)))
    }
}

fn log_dissimilarity(similarity: f64) -> f64 {
    (1.0 - similarity).max(1e-6).ln()
}

/// The fineness of the quantizer at a quality, of 0 to 100, as libwebp maps it (`QualityToCompression` in `quant_enc.c`).
fn fineness(quality: f64) -> f64 {
    if quality < 75.0 { quality / 1.5 } else { quality * 2.0 - 100.0 }
}

/// The inverse of [`fineness`].
fn quality_of(fineness: f64) -> f64 {
    if fineness < 50.0 { fineness * 1.5 } else { fineness / 2.0 + 50.0 }
}

/// The similarity of an image to what is decoded of it.
fn similarity_to(image: &DynamicImage, encoded: &[u8]) -> Result<f64, ExtractError> {
    let decoded = Decoder::new(encoded).decode().ok_or_else(|| error("it cannot be decoded"))?;
    let width = image.width() as usize;
    Ok(match (image.color().has_alpha(), decoded.is_alpha()) {
        (true, true) => similarity(image.as_bytes(), &decoded, width, 4),
        (false, false) => similarity(image.as_bytes(), &decoded, width, 3),
        // An image that is opaque throughout is decoded without alpha.
        _ => similarity(image.to_rgb8().as_raw(), &decoded, width, 3),
    })
}

fn encode_at(image: &DynamicImage, config: &WebPConfig) -> Result<Vec<u8>, ExtractError> {
    let layout = if image.color().has_alpha() { PixelLayout::Rgba } else { PixelLayout::Rgb };
    let encoder = Encoder::new(image.as_bytes(), layout, image.width(), image.height());
    let encoded = encoder.encode_advanced(config).map_err(|failed| error(&format!("{failed:?}")))?;
    Ok(encoded.to_vec())
}

fn lossy(quality: f64) -> Result<WebPConfig, ExtractError> {
    let mut config = WebPConfig::new().map_err(|()| error("its settings are invalid"))?;
    config.quality = quality as f32;
    // Higher methods take two to ten times as long for one or two hundredths of the size; lower ones add a tenth to it.
    config.method = 4;
    Ok(config)
}

fn error(reason: &str) -> ExtractError {
    ExtractError::new(ExtractErrorKind::Io, format!("encoding the thumbnail: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example photographs, and drawings of several kinds, at 320 pixels.
    fn images() -> Vec<(&'static str, DynamicImage)> {
        let media = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/media/photos");
        let photo = |name: &str| image::open(media.join(name)).unwrap().thumbnail(320, 320);
        let drawn = |pixel: &dyn Fn(f32, f32) -> [u8; 3]| {
            DynamicImage::from(image::RgbImage::from_fn(320, 213, |x, y| image::Rgb(pixel(x as f32, y as f32))))
        };
        let wave = |x: f32, y: f32, scale: f32| ((x / scale).sin() * (y / scale / 1.3).cos() + 1.0) / 2.0;
        let octaves = |x: f32, y: f32| {
            (0..7).map(|i| noise(x, y, 64.0 / f32::from(1_u8 << i)) / f32::from(1_u8 << i)).sum::<f32>() / 2.0
        };
        vec![
            ("tea-break", photo("tea-break.jpg")),
            ("chelsea", photo("chelsea.png")),
            ("tea-break, a part", image::open(media.join("tea-break.jpg")).unwrap().crop_imm(50, 50, 320, 213)),
            ("chelsea, a part", image::open(media.join("chelsea.png")).unwrap().crop_imm(50, 50, 320, 213)),
            ("gradient", drawn(&|x, y| [(x * 0.8) as u8, y as u8, 128])),
            ("waves", drawn(&|x, y| [wave(x, y, 9.0), wave(y, x, 14.0), wave(x, y, 31.0)].map(|v| (v * 255.0) as u8))),
            (
                "landscape",
                drawn(&|x, y| {
                    let v = octaves(x, y);
                    [v * 200.0, v * 230.0, 90.0 + v * 120.0].map(|v| v as u8)
                }),
            ),
            (
                "rocks",
                drawn(&|x, y| {
                    let v = (octaves(x, y) - 0.5).abs() * 2.0;
                    [v * 255.0, v * 220.0 + 20.0, v * 190.0 + 30.0].map(|v| v as u8)
                }),
            ),
            ("grain", drawn(&|x, y| [0.4, 0.5, 0.6].map(|v: f32| (v * 200.0 + noise(x, y, 1.0) * 40.0) as u8))),
            ("noise", drawn(&|x, y| [0.0, 999.0, 1999.0].map(|from| (noise(x + from, y, 1.0) * 255.0) as u8))),
            ("lines", drawn(&|x, y| if (x as u32 + y as u32 * 3) % 17 < 3 { [20; 3] } else { [250; 3] })),
            (
                "tiles",
                drawn(&|x, y| match (x as u32 / 16 + y as u32 / 16) % 3 {
                    0 => [200, 30, 30],
                    1 => [20, 90, 200],
                    _ => [240, 240, 200],
                }),
            ),
            (
                "page",
                drawn(&|x, y| {
                    let is_ink = y as u32 % 12 < 7 && noise((x / 2.0).floor(), (y / 3.0).floor(), 1.0) > 0.55;
                    if is_ink && x > 20.0 && x < 300.0 { [30; 3] } else { [255; 3] }
                }),
            ),
        ]
    }

    /// Value noise, 0 to 1.
    fn noise(x: f32, y: f32, scale: f32) -> f32 {
        let (x, y) = (x / scale, y / scale);
        let at = |x: f32, y: f32| {
            let mut hash = (x as u32).wrapping_mul(374_761_393).wrapping_add((y as u32).wrapping_mul(668_265_263));
            hash = (hash ^ (hash >> 13)).wrapping_mul(1_274_126_177);
            (hash >> 16 & 0xFFFF) as f32 / 65535.0
        };
        let (u, v) = (x.fract(), y.fract());
        let mix = |a: f32, b: f32, t: f32| a + (b - a) * t * t * (3.0 - 2.0 * t);
        let (left, top) = (x.floor(), y.floor());
        mix(mix(at(left, top), at(left + 1.0, top), u), mix(at(left, top + 1.0), at(left + 1.0, top + 1.0), u), v)
    }

    #[test]
    fn a_thumbnail_is_small_and_looks_the_same() {
        let mut sizes = Vec::new();
        for (name, image) in images() {
            let encoded = encode(&image).unwrap();
            assert_eq!(&encoded[..4], b"RIFF", "{name}");
            assert_ne!(&encoded[12..16], b"VP8L", "{name} is lossy");
            let decoded = image::load_from_memory(&encoded).unwrap().to_rgb8();
            let similarity = similarity(image.to_rgb8().as_raw(), &decoded, image.width() as usize, 3);
            assert!(similarity >= 0.95, "{name}: {similarity}");
            sizes.push((encoded.len(), name));
        }
        sizes.sort_unstable();
        println!("{sizes:?}");
        assert!(sizes[sizes.len() / 2].0 <= 10_000, "{sizes:?}");
    }

    #[test]
    fn alpha_is_kept_without_loss() {
        let image = image::RgbaImage::from_fn(200, 150, |x, y| {
            image::Rgba([x as u8, y as u8, 90, (x * y % 256) as u8 / 2 + if x > 100 { 128 } else { 0 }])
        });
        let encoded = encode(&image.clone().into()).unwrap();
        let decoded = image::load_from_memory(&encoded).unwrap().to_rgba8();
        assert!(image.pixels().zip(decoded.pixels()).all(|(one, other)| one[3] == other[3]));
        let opaque = image::RgbaImage::from_pixel(20, 20, image::Rgba([9, 99, 199, 255]));
        assert!(image::load_from_memory(&encode(&opaque.into()).unwrap()).is_ok());
        let tiny = image::RgbaImage::from_pixel(1, 1, image::Rgba([9, 99, 199, 0]));
        assert_eq!(image::load_from_memory(&encode(&tiny.into()).unwrap()).unwrap().to_rgba8()[(0, 0)][3], 0);
    }
}
