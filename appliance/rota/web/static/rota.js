// Everything works without this file; with it, pages follow live and answer a little sooner.
import { initAll } from './vendor/nhsuk.js'

const SILENT_AFTER = 15000 // ms: three beats that did not come

/** Put new HTML in the place of an element, and keep what the keyboard was at. */
function put (id, html) {
  const old = document.getElementById(id)
  if (!old) return
  const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute('href') : null
  const holder = document.createElement('template')
  holder.innerHTML = html
  const fresh = holder.content.firstElementChild
  fresh.hidden = old.hidden
  old.replaceWith(fresh)
  if (focused !== null) fresh.querySelector(`[href="${CSS.escape(focused)}"]`)?.focus()
}

/** Whether the session has ended: the answer is then the way to the sign-in page. */
async function signedOut (address) {
  const stop = new AbortController()
  try {
    return (await fetch(address, { redirect: 'manual', signal: stop.signal })).type === 'opaqueredirect'
  } catch {
    return false
  } finally {
    stop.abort()
  }
}

/** Follow the stream that the page names; say honestly when nothing is heard. */
function follow (root) {
  let version = root.dataset.version
  let source
  let timer
  let timer2
  const heard = document.querySelector('[data-heard]')
  const quiet = () => {
    document.body.classList.add('stale')
    if (heard && !heard.querySelector('.lost')) {
      const note = document.createElement('strong')
      note.className = 'lost'
      note.textContent = ' No news since then: what you see may be old.'
      heard.append(note)
    }
  }
  const alive = (text, known) => {
    clearTimeout(timer)
    timer = setTimeout(quiet, SILENT_AFTER)
    document.body.classList.remove('stale')
    if (heard) heard.textContent = known ? `Live. Last update ${text}.` : `These pages answer, rotad does not. Last word of it ${text}.`
  }
  const connect = () => {
    source = new EventSource(`${root.dataset.live}?since=${encodeURIComponent(version)}`)
    source.addEventListener('news', (event) => {
      const news = JSON.parse(event.data)
      version = news.version
      for (const [id, html] of Object.entries(news.pieces)) put(id, html)
      alive(news.heard, news.level !== 'unknown')
      document.dispatchEvent(new Event('rota:news'))
    })
    source.onerror = async () => {
      // The browser asks again with the old version, or not at all after an error: do it by hand.
      source.close()
      quiet()
      if (await signedOut(root.dataset.live)) window.location.reload()
      else timer2 = setTimeout(connect, 3000)
    }
  }
  timer = setTimeout(quiet, SILENT_AFTER)
  connect()
  window.addEventListener('pagehide', () => { source.close(); clearTimeout(timer2) })
  window.addEventListener('pageshow', (event) => { if (event.persisted) connect() })
}

/** Narrow the list while somebody types; the form does the same on the server. */
function filter (form) {
  const field = form.querySelector('[name=q]')
  const apply = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean)
    for (const card of document.querySelectorAll('[data-card]')) {
      const head = card.querySelector('.head').textContent.toLowerCase()
      const whole = words.every((word) => head.includes(word))
      let some = false
      for (const row of card.querySelectorAll('tbody tr')) {
        const text = head + row.textContent.toLowerCase()
        row.hidden = !whole && !words.every((word) => text.includes(word))
        some = some || !row.hidden
      }
      card.hidden = !some
    }
    for (const section of document.querySelectorAll('.section')) {
      section.hidden = !section.querySelector('[data-card]:not([hidden])')
    }
  }
  field.addEventListener('input', apply)
  for (const choice of form.querySelectorAll('select')) choice.addEventListener('change', () => form.requestSubmit())
}

/** A part of a page that asks for itself again until it says that it is done. */
function refresh (part) {
  const again = async () => {
    try {
      const answer = await fetch(part.dataset.refresh, { redirect: 'manual' })
      if (answer.type === 'opaqueredirect') window.location.reload()
      if (!answer.ok) throw new Error(String(answer.status))
      const html = await answer.text()
      if (part.innerHTML !== html) part.innerHTML = html
      part.classList.remove('old')
    } catch {
      part.classList.add('old')
    }
    if (!part.querySelector('[data-done]')) setTimeout(again, 2000)
  }
  if (!part.querySelector('[data-done]')) setTimeout(again, 2000)
}

document.body.classList.add('js-enabled', 'nhsuk-frontend-supported')
initAll()
for (const root of document.querySelectorAll('[data-live]')) follow(root)
for (const form of document.querySelectorAll('[data-filter]')) filter(form)
for (const part of document.querySelectorAll('[data-refresh]')) refresh(part)
