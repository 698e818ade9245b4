
"use strict";
// Keeps the answers in the browser, and saves them as a file. Nothing is sent anywhere.
(() => {
  const saving = document.querySelector(".saving");
  const {format, audit, file, boxes} = saving.dataset;
  const asked = boxes.split(" ").filter(Boolean);
  const fields = [...document.querySelectorAll(".question")];
  const place = "wend answers " + audit, words = ["right", "wrong", "unsure"];
  const answers = new Map();

  const keep = (box, answer) => { if (words.includes(answer)) answers.set(box, answer); };
  for (const field of fields) keep(field.dataset.box, field.dataset.answer);
  try {
    for (const [box, answer] of Object.entries(JSON.parse(localStorage.getItem(place)) || {})) keep(box, answer);
  } catch (error) { /* a browser that keeps nothing for files */ }

  const show = () => {
    for (const field of fields) {
      const answer = answers.get(field.dataset.box);
      for (const input of field.querySelectorAll("input")) input.checked = input.value === answer;
    }
    const done = asked.filter(box => answers.has(box)).length, more = answers.size - done;
    saving.querySelector("output").textContent =
      `${done} of ${asked.length} answered` + (more ? `, and ${more} not of the sample` : "");
  };
  const answer = (field, word) => {
    answers.set(field.dataset.box, word);
    try { localStorage.setItem(place, JSON.stringify(Object.fromEntries(answers))); } catch (error) { /* as above */ }
    show();
  };

  document.addEventListener("change", event => {
    const field = event.target.closest(".question");
    if (field) answer(field, event.target.value);
  });
  document.addEventListener("keydown", event => {
    const field = document.activeElement.closest(".question");
    const word = words.find(each => each[0] === event.key);
    if (!field || !word || event.ctrlKey || event.metaKey || event.altKey) return;
    answer(field, word);
    const next = fields[fields.indexOf(field) + 1];
    if (next) { next.querySelector("input").focus(); next.closest(".tile").scrollIntoView({block: "center"}); }
  });
  saving.querySelector("button").addEventListener("click", () => {
    const content = JSON.stringify({format, audit, answers: Object.fromEntries(answers)}, null, 1);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], {type: "application/json"}));
    link.download = file;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
  show();
})();
