-- What HAProxy cannot say or decide by itself about DICOM associations. It runs once per association, never per byte.

-- A-ASSOCIATE-RJ (PS3.8 Table 9-21): result, source, reason.
local function refuse(name, result, source, reason)
  local pdu = string.char(3, 0, 0, 0, 0, 4, 0, result, source, reason)
  core.register_service("rota-refuse-" .. name, "tcp", function(applet)
    -- HAProxy reads on until the caller closes, so no reset can overtake these bytes
    applet:send(pdu)
  end)
end

refuse("calling", 1, 1, 3) -- rejected for good: calling AE title not recognised
refuse("called", 1, 1, 7) -- rejected for good: called AE title not recognised
refuse("busy", 2, 3, 2) -- rejected for now: local limit exceeded

-- A member that may get new work: up (or going down, or without a check), and not drained.
local function usable(server)
  local status = server:get_stats().status
  return (status:find("^UP") or status == "no check") and server:get_weight() > 0 and not server:is_draining()
end

-- HAProxy's ids of servers are numbers, which its Lua gives as text.
local function id(server) return tonumber(server:get_puid()) end

local function has_room(server)
  local limit = server:get_maxconn()
  return limit == 0 or server:get_cur_sess() + server:get_stats().qcur < limit
end

-- The servers of a backend in the order of the configuration. The set does not change while HAProxy runs.
local ordered = {}
local function servers_of(name)
  if not ordered[name] then
    local list = {}
    for _, server in pairs(core.backends[name].servers) do
      list[#list + 1] = server
    end
    table.sort(list, function(a, b) return id(a) < id(b) end)
    ordered[name] = list
  end
  return ordered[name]
end

-- Who may serve now: all usable members, or else the first usable backup (the fallback server is the last one).
local function candidates(name, route)
  local first, backup = {}, nil
  for _, server in ipairs(servers_of(name)) do
    local title = server:get_name()
    if (not route or route[title] or title == "FALLBACK") and usable(server) then
      if not server:is_backup() then
        first[#first + 1] = server
      elseif not backup then
        backup = server
      end
    end
  end
  if #first == 0 and backup then return { backup } end
  return first
end

-- The one that the caller had before, or else the one with the fewest connections for its weight.
local function pick(list, sticky)
  local best, least
  for _, server in ipairs(list) do
    if has_room(server) then
      if id(server) == sticky then return server end
      local load = server:get_cur_sess() / server:get_weight()
      if not best or load < least then best, least = server, load end
    end
  end
  return best
end

local function words(text)
  if not text then return nil end
  local set = {}
  for word in text:gmatch("%S+") do set[word] = true end
  return set
end

-- Sets txn.verdict to accepted, busy or no-member. Sets txn.member where HAProxy may not choose: for a routed called AE, and
-- for a caller that had a member before (which may be full now). When all are at their limit it waits, `patience`
-- milliseconds at most.
core.register_action("rota-admit", { "tcp-req" }, function(txn, patience)
  local backend = txn.f:be_name()
  local route = words(txn:get_var("txn.route"))
  local sticky = txn:get_var("txn.sticky_id")
  local waited = 0
  while true do
    local list = candidates(backend, route)
    if #list == 0 then
      txn:set_var("txn.verdict", "no-member")
      return
    end
    local server = pick(list, sticky)
    if server then
      txn:set_var("txn.verdict", "accepted")
      if route or sticky then txn:set_var("txn.member", server:get_name()) end
      return
    end
    if waited >= tonumber(patience) then
      txn:set_var("txn.verdict", "busy")
      return
    end
    core.msleep(50)
    waited = waited + 50
  end
end, 1)

-- An agent (rotad) that said "down" and then fell silent must not keep a member out: HAProxy by itself would wait for its
-- next word for ever. So what it said last is forgotten after PATIENCE seconds of silence, even while no rotad runs.
local PACE, PATIENCE = 5, 15
local UNHEARD = { L4CON = true, L4TOUT = true, L6TOUT = true, L7TOUT = true, SOCKERR = true, L7RSP = true }
core.register_task(function()
  local asked, silent = {}, {}
  core.sleep(PACE)
  for name, backend in pairs(core.backends) do
    for title, server in pairs(backend.servers) do
      -- most have no agent, and statistics are not free
      if (server:get_stats().agent_status or "") ~= "" then asked[name .. "/" .. title] = server end
    end
  end
  while next(asked) do
    core.sleep(PACE)
    for key, server in pairs(asked) do
      local stats = server:get_stats()
      local heard = not UNHEARD[(stats.agent_status or ""):gsub("^%* ", "")]
      if heard or tonumber(stats.agent_health) ~= 0 then
        silent[key] = nil
      else
        silent[key] = (silent[key] or 0) + PACE
        if silent[key] >= PATIENCE then
          silent[key] = nil
          core.Warning("member " .. key .. ": the agent is silent, so what it said last no longer counts")
          server:agent_force_up()
        end
      end
    end
  end
end)

-- After a reload the process that was there before hands its tables over within milliseconds. Until then nobody may choose
-- the member of a feed that was in use; the file, which the unit writes before a reload, names these feeds.
local started, feeds = os.time(), {}
local file = io.open(({ ... })[1] or "")
if file then
  for line in file:lines() do feeds[line] = true end
  file:close()
end
core.register_action("rota-settle", { "tcp-req" }, function(txn)
  local name = txn.f:be_name()
  while feeds[name] and os.time() - started < 8 do
    if core.backends[name].stktable:lookup("1") then return end
    core.msleep(10)
  end
end, 0)
