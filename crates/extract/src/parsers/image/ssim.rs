//! How similar two images look: the structural similarity index (Wang, Bovik, Sheikh and Simoncelli, 2004), with windows of
//! 8 by 8 pixels.

/// The side of a window in pixels.
const WINDOW: usize = 8;
/// The distance of the windows in pixels.
const STEP: usize = 4;

/// The mean similarity of the brightness of two images of the same size, at most 1. Both are 8-bit with `channels` bytes for each pixel: RGB, or RGBA, in which transparent pixels are black.
pub(super) fn similarity(one: &[u8], other: &[u8], width: usize, channels: usize) -> f64 {
    // ITU-R BT.601.
    const WEIGHTS: [f64; 3] = [0.299, 0.587, 0.114];
    let brightness = |pixel: &[u8]| {
        let opacity = pixel.get(3).map_or(1.0, |alpha| f64::from(*alpha) / 255.0);
        pixel.iter().zip(WEIGHTS).map(|(value, weight)| f64::from(*value) * weight).sum::<f64>() * opacity
    };
    let plane = |pixels: &[u8]| pixels.chunks_exact(channels).map(brightness).collect::<Vec<f64>>();
    plane_similarity(&plane(one), &plane(other), width)
}

fn plane_similarity(one: &[f64], other: &[f64], width: usize) -> f64 {
    let height = one.len().min(other.len()) / width.max(1);
    let starts = |length: usize| (0..=length.saturating_sub(WINDOW)).step_by(STEP);
    let mut sum = 0.0;
    let mut windows = 0_u32;
    for top in starts(height) {
        for left in starts(width) {
            let rows = (top..height.min(top + WINDOW)).map(|y| y * width + left..y * width + width.min(left + WINDOW));
            let pairs = rows.filter_map(|row| Some(one.get(row.clone())?.iter().zip(other.get(row)?))).flatten();
            sum += window_similarity(pairs);
            windows += 1;
        }
    }
    sum / f64::from(windows.max(1))
}

fn window_similarity<'a>(pairs: impl Iterator<Item = (&'a f64, &'a f64)>) -> f64 {
    // (0.01 × 255)² and (0.03 × 255)².
    const C1: f64 = 6.5025;
    const C2: f64 = 58.5225;
    let [mut n, mut x, mut y, mut xx, mut yy, mut xy] = [0.0; 6];
    for (a, b) in pairs {
        n += 1.0;
        x += a;
        y += b;
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    if n == 0.0 {
        return 1.0;
    }
    let (x, y) = (x / n, y / n);
    let (var_x, var_y, covariance) = (xx / n - x * x, yy / n - y * y, xy / n - x * y);
    (2.0 * x * y + C1) * (2.0 * covariance + C2) / ((x * x + y * y + C1) * (var_x + var_y + C2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similarity_is_one_of_equal_images_and_less_of_others() {
        let one: Vec<u8> = (0..32 * 32 * 3).map(|i| (i * 7 % 251) as u8).collect();
        assert!((similarity(&one, &one, 32, 3) - 1.0).abs() < 1e-9);
        let inverted: Vec<u8> = one.iter().map(|value| 255 - value).collect();
        assert!(similarity(&one, &inverted, 32, 3) < 0.5);
        let brighter: Vec<u8> = one.iter().map(|value| value.saturating_add(3)).collect();
        let similar = similarity(&one, &brighter, 32, 3);
        assert!((0.9..1.0).contains(&similar), "{similar}");
        assert!((similarity(&[9, 9, 9], &[9, 9, 9], 1, 3) - 1.0).abs() < 1e-9, "smaller than a window");
    }

    #[test]
    fn colour_of_transparent_pixels_does_not_count() {
        let one = [10, 20, 30, 0].repeat(64);
        let other = [200, 100, 0, 0].repeat(64);
        assert!((similarity(&one, &other, 8, 4) - 1.0).abs() < 1e-9);
    }
}
