use witgate_plugin::{
    AttemptHook, Error, Guard, Manifest, NoSettings, Plugin, Request, Target, Verdict, export,
};

struct NoServiceTier;

impl Plugin for NoServiceTier {
    type Settings = NoSettings;

    fn new(_: NoSettings) -> Result<Self, Error> {
        Ok(Self)
    }

    fn describe(&self) -> Manifest {
        Manifest::new("removes service_tier").attempt(Guard::new().path("$.service_tier"))
    }
}

impl AttemptHook for NoServiceTier {
    fn on_attempt(&mut self, request: &mut Request, _: &Target) -> Result<Verdict, Error> {
        request.remove_all("$.service_tier")?;
        Ok(Verdict::Proceed)
    }
}

export!(NoServiceTier: AttemptHook);
