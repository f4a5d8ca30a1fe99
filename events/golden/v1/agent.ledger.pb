
prodnode-1.example€Ò§Ú·3"_agent.default:agent.ledger@H(*0z§¥ëÜÊòëÜÃâ•
$9f0d7a4e-1b2c-4d5e-8f60-718293a4b5c6¥ëÜÊíëÜÃ (0€Ò§Ú·3:
sys_exit_openat (2

no_scratch2
read_failed"‘
baselinesha256:0123456789abcdef"V
execsprocess.execg h(i0j8k@lHmPnXo`phqprxs€tˆuv˜w x¨y°z¸{À|Èÿÿÿÿÿÿÿÿÿ"
opens	file.open