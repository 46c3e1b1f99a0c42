"use strict";
// The score on its scale, and probabilities, as bars.

/** "blur 85 %", or the name alone where its probability is not known; "" without a name. */
function wordOf(classes, photo) {
  const name = classes.name(photo), share = classes.best(photo);
  return name && !Number.isNaN(share) ? `${name} ${percent(share)}` : name;
}

const percent = (share) => `${Math.round(share * 100)} %`;

/** A score on its scale, with its interval as a whisker. */
function scaleBar(table, photo) {
  const bar = element("div", `scale ${table.grade(photo)}`);
  bar.setAttribute("aria-hidden", "true");
  const full = element("span", "full");
  full.style.width = `${table.place(table.score[photo]) * 100}%`;
  bar.append(full);
  if (table.hasInterval(photo)) {
    const whisker = element("span", "whisker");
    const low = table.place(table.intervalLow[photo]), high = table.place(table.intervalHigh[photo]);
    whisker.style.left = `${low * 100}%`;
    whisker.style.width = `${(high - low) * 100}%`;
    bar.append(whisker);
  }
  return bar;
}

/** All probabilities of scenes or distortions, the largest first. */
function shareBars(title, classes, photo) {
  const section = element("section", "shares", element("h3", "", title));
  if (classes.shares === null) {
    section.append(element("p", "faint", classes.name(photo) || "not known"));
    return section;
  }
  const numbers = [...classes.names.keys()].sort((a, b) => classes.share(photo, b) - classes.share(photo, a));
  const list = element("ul", "");
  for (const number of numbers) {
    const share = classes.share(photo, number);
    const bar = element("span", "bar", element("span", ""));
    bar.setAttribute("aria-hidden", "true");
    bar.firstChild.style.width = `${share * 100}%`;
    list.append(element("li", "", element("span", "name", classes.names[number]), bar, element("span", "value", percent(share))));
  }
  section.append(list);
  return section;
}
