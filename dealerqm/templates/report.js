"use strict";
(() => {
  const titles = { zh: document.documentElement.dataset.titleZh, en: document.documentElement.dataset.titleEn };
  const choice = { zh: document.getElementById("zh"), en: document.getElementById("en") };
  const show = (lang) => {
    document.documentElement.lang = lang === "en" ? "en" : "zh-CN";
    document.title = titles[lang];
    for (const link of document.querySelectorAll("a[data-page]")) {
      link.setAttribute("href", link.dataset.page + (lang === "en" ? "#lang-en" : ""));
    }
  };
  for (const lang of ["zh", "en"]) {
    choice[lang].addEventListener("change", () => show(lang));
  }
  if (location.hash === "#lang-en") choice.en.checked = true;
  show(choice.en.checked ? "en" : "zh");
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const part of opened) part.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const part of opened) part.open = false;
  });
})();
