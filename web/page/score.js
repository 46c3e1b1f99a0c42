// From the graph's predictions for a photo's crops to its score: as src/mpiqe/scoring/scorer.py and intervals.py.

/** `predicted` has score (K), scene (K x scenes) and distortion (K x distortions); `card` is mpiqe.json. */
export function scored({ score, scene, distortion }, card) {
  if (![score, scene, distortion].every((values) => values.every(Number.isFinite))) {
    throw new Error("the predictions are not finite: the model is damaged");
  }
  const mean = average(score);
  const spread = Math.sqrt(average(score.map((value) => (value - mean) ** 2)));
  return {
    score: mean,
    spread,
    interval: card.interval && card.crops >= card.interval.crops ? interval(mean, spread, card.interval) : null,
    scene: byName(scene, card.scenes),
    distortion: byName(distortion, card.distortions),
  };
}

/** The interval [low, high] around a score. */
export function interval(score, spread, model) {
  const [low, high] = model.score_range;
  const place = clamp((2 * score - low - high) / (high - low || 1), -1, 1);
  const predictors = {
    constant: 1,
    score: place,
    score_squared: place ** 2,
    spread: Math.log1p(clamp(spread, 0, model.spread_most) / (model.spread_unit || 1)),
  };
  const log = Object.entries(model.coefficients).reduce((sum, [name, value]) => sum + value * predictors[name], 0);
  const half = model.quantile * Math.exp(log);
  return [score - half, score + half];
}

/** The mean over crops of each name's probability. */
function byName(probabilities, names) {
  const crops = probabilities.length / names.length;
  return Object.fromEntries(
    names.map((name, index) => [name, average(Array.from({ length: crops }, (_, k) => probabilities[k * names.length + index]))]),
  );
}

/** Names with their probabilities, the most probable first. */
export function ranked(probabilities) {
  return Object.entries(probabilities).sort(([, a], [, b]) => b - a);
}

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

const average = (values) => Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;
